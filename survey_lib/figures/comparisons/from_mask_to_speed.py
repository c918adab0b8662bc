"""The staircase from mask to runtime, drawn from the published measurement (`survey speed --publish`)."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from survey_lib.charts.export import Drawing
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
COLUMNS = {
    "pruning": "pruning",
    "pruning_low": "low",
    "pruning_high": "high",
    "speedup_measured": "everything",
    "speedup_theoretical": "theoretical",
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
    table = found[list(COLUMNS)].rename(columns=COLUMNS)
    return table.assign(ms=1e3 * found["median_s"], MB=found["file_bytes"] / 1e6)


def staircase() -> Drawing:
    """What pruning gains in each runtime beside the MACs saved, and the file's size, from dense to runtime.

    The band runs from the lowest to the highest speed-up of models that do the same work as the dense one. The
    truth is 1 for these, so the benchmark cannot see a difference inside it.
    """
    chain = speed.read()["chain"]
    same = chain.query("variant in ['masked', '2:4', '1x4'] and threads == 1 and batch >= 16")
    tables = {name: staircase_table(chain, name) for name in chain["model"].unique()}
    height = 0.32 * max(map(len, tables.values())) + 0.9
    shape = {"figsize": (5.8, height * len(tables)), "width_ratios": (3, 1)}
    figure, grid = plt.subplots(len(tables), 2, sharey="row", squeeze=False, **shape)
    for (model, table), (left, right) in zip(tables.items(), grid, strict=True):
        left.axvspan(*same["speedup_measured"].agg(["min", "max"]), color=PALE, label="too small to see")
        _gains(table, left)
        left.set(title=model)
        right.barh(table.index, table["MB"], color=GREY, height=0.6)
        right.bar_label(right.containers[0], fmt=lambda size: f" {size:.2g}" if size < 10 else f" {size:.0f}")
        right.set(xlabel="file, MB", xlim=(0, 1.5 * table["MB"].max()))
        right.grid(axis="y", visible=False)
    figure.legend(
        *grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, columnspacing=1
    )
    data = pd.concat(tables, names=["model"]).reset_index()
    aligned = data.loc[data["step"].str.startswith("aligned"), "pruning"]
    gained = f"{aligned.min():.1f} to {aligned.max():.1f} times as fast"
    says = f"A mask saves no time; an aligned cut to a quarter of the MACs is {gained}"
    return Drawing(figure, says, data, chain[["machine", "torch"]].iloc[0].to_dict())


def _gains(table: pd.DataFrame, axes: Axes) -> None:
    """A bar a step: what pruning gains, with quartiles, and the MACs that it saves."""
    axes.barh(table.index, table["pruning"], color=PALETTE[0], height=0.6, label="gained by pruning")
    axes.hlines(table.index, table["low"], table["high"], color=DENSE, linewidth=1)
    axes.plot(table["theoretical"], table.index, "D", color=PALETTE[1], label="MACs saved")
    axes.axvline(1, color=DENSE, linestyle="--", linewidth=1)
    axes.set(xlabel="speed-up over dense, same runtime", ylim=(len(table) - 0.5, -0.5))
    axes.grid(axis="y", visible=False)
