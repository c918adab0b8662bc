"""The staircase from mask to runtime, drawn from the published measurement (`survey speed --publish`)."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from survey_lib.charts.export import Drawing, titled
from survey_lib.charts.intervals import whiskers
from survey_lib.charts.looks import DENSE, GREY, PALE, PALETTE
from survey_lib.experiment import speed

STEPS = {
    "dense": ("dense", "eager"),
    "masked": ("masked", "eager"),
    "cut": ("cut", "eager"),
    "aligned": ("aligned", "eager"),
    "aligned, compiled": ("aligned", "compiled"),
    "aligned, ONNX Runtime": ("aligned", "onnx"),
    "aligned, ONNX int8": ("aligned", "onnx int8"),
}


def staircase_table(chain: pd.DataFrame, model: str) -> pd.DataFrame:
    """The steps from dense to runtime in order, those that were measured, at batch 16 on one thread.

    Parameters
    ----------
    chain : pd.DataFrame
        The published timings.
    model : str
        Name of the model.

    Returns
    -------
    pd.DataFrame
        One row a step: ms, MB, and * pruning: speed-up over the dense model in the same runtime, with
        bounds low and high * everything: speed-up over the dense model in eager mode, so runtime and
        pruning together * theoretical: dense MACs / kept MACs.
    """
    rows = speed.within_runtime(chain).query("model == @model and batch == 16 and threads == 1")
    rows = rows.set_index(["variant", "runtime"])
    there = {step: key for step, key in STEPS.items() if key in rows.index}
    found = rows.loc[list(there.values())].set_axis(pd.Index(there, name="step"))
    columns = {
        "pruning": "pruning",
        "pruning_low": "low",
        "pruning_high": "high",
        "speedup_measured": "everything",
        "speedup_theoretical": "theoretical",
    }
    table = found[list(columns)].rename(columns=columns)
    return table.assign(ms=1e3 * found["median_s"], MB=found["file_bytes"] / 1e6)


def resolution(chain: pd.DataFrame) -> tuple[float, float]:
    """The lowest and highest speed-up of models that do the same work as the dense one: masks, one thread, batch 16 up.

    The truth is 1, so a difference inside this range is not one that the benchmark can see.
    """
    same = chain.query("variant in ['masked', '2:4', '1x4'] and threads == 1 and batch >= 16")
    return float(same["speedup_measured"].min()), float(same["speedup_measured"].max())


def staircase() -> Drawing:
    """What pruning gains in each runtime beside the MACs saved, and the file's size, from dense to runtime."""
    chain = speed.read()["chain"]
    tables = {name: staircase_table(chain, name) for name in chain["model"].unique()}
    height = 0.32 * max(map(len, tables.values())) + 0.9
    shape = {
        "figsize": (5.8, height * len(tables)),
        "sharey": "row",
        "squeeze": False,
        "width_ratios": (3, 1),
    }
    figure, grid = plt.subplots(len(tables), 2, **shape)
    for (model, table), axes in zip(tables.items(), grid, strict=True):
        _steps(table, resolution(chain), *axes)
        axes[0].set_title(model)
    figure.legend(
        *grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, columnspacing=1
    )
    data = pd.concat(tables, names=["model"]).reset_index()
    aligned = data.loc[data["step"].str.startswith("aligned"), "pruning"]
    says = (
        "A mask saves no time; an aligned cut to a quarter of the MACs is "
        f"{aligned.min():.1f} to {aligned.max():.1f} times as fast"
    )
    about = (
        f"Speed-up over the dense model in the same runtime, {chain['machine'].iloc[0]}, torch {chain['torch'].iloc[0]}, "
        "batch 16, one thread. Whiskers: quartiles of rounds in turns. Band: the range of masked models, which do the "
        "work of the dense one."
    )
    return titled(figure, says, about, data)


def _steps(table: pd.DataFrame, unseen: tuple[float, float], left: Axes, right: Axes) -> None:
    """A bar a step: on the left what pruning gains, with quartiles, on the right the size of the file."""
    rows = np.arange(len(table))
    left.axvspan(*unseen, color=PALE, zorder=0, label="too small to see")
    left.barh(rows, table["pruning"], color=PALETTE[0], height=0.6, label="gained by pruning")
    look = {"fmt": "none", "ecolor": DENSE, "linewidth": 1, "capsize": 0}
    whiskers(table["pruning"], rows, table["low"], table["high"], left, standing=False, **look)
    left.plot(table["theoretical"], rows, "D", color=PALETTE[1], markersize=5, label="MACs saved")
    left.axvline(1, color=DENSE, linestyle="--", linewidth=1)
    left.set(xlabel="speed-up over dense, same runtime", ylim=(len(table) - 0.5, -0.5))
    left.set_yticks(rows, table.index)
    sizes = right.barh(rows, table["MB"], color=GREY, height=0.6)
    right.bar_label(
        sizes, [f" {size:.2g}" if size < 10 else f" {size:.0f}" for size in table["MB"]], fontsize=8
    )
    right.set(xlabel="file, MB", xlim=(0, 1.5 * table["MB"].max()))
    for axes in (left, right):
        axes.grid(axis="y", visible=False)


def by_kind(roofed: pd.DataFrame) -> pd.DataFrame:
    """How many times less each kind of operator computes, moves and takes once aligned, and its share of dense time."""
    pair = roofed[roofed["variant"].isin(["dense", "aligned"])]
    sums = pair.groupby(["model", "kind", "variant"])[["flops", "bytes", "seconds"]].sum().unstack("variant")
    table = pd.DataFrame(
        {name: sums[name]["dense"] / sums[name]["aligned"] for name in ("flops", "bytes", "seconds")}
    )
    seconds = sums["seconds"]["dense"]
    return table.assign(share=seconds / seconds.groupby("model").transform("sum"))
