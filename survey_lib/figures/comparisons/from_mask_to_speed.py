"""Drawings of measured time: the staircase from mask to runtime, the roofline, sparse kernels, storage."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from survey_lib.charts.intervals import whiskers
from survey_lib.charts.plots import DENSE, GREY, MARKERS, PALE, PALETTE
from survey_lib.experiment.speed import within_runtime

STEPS = {
    "dense": ("dense", "eager"),
    "masked": ("masked", "eager"),
    "cut": ("cut", "eager"),
    "aligned": ("aligned", "eager"),
    "aligned, compiled": ("aligned", "compiled"),
    "aligned, ONNX Runtime": ("aligned", "onnx"),
    "aligned, ONNX int8": ("aligned", "onnx int8"),
}
KINDS = ("convolution", "linear", "norm", "elementwise", "pooling")


def staircase_table(chain: pd.DataFrame, model: str, batch: int = 16, threads: int = 1) -> pd.DataFrame:
    """The steps from dense to runtime in order, those that were measured.

    Parameters
    ----------
    chain : pd.DataFrame
        The published timings.
    model : str
        Name of the model.
    batch : int, default 16
        Images in a batch.
    threads : int, default 1
        Threads of the computation.

    Returns
    -------
    pd.DataFrame
        One row a step: ms, MB, and * pruning: speed-up over the dense model in the same runtime, with
        bounds low and high * everything: speed-up over the dense model in eager mode, so runtime and
        pruning together * theoretical: dense MACs / kept MACs.
    """
    rows = within_runtime(chain).query("model == @model and batch == @batch and threads == @threads")
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
    same = chain.query("variant in ['masked', '2:4', '1x4'] and threads == 1 and batch >= 16")[
        "speedup_measured"
    ]
    return float(same.min()), float(same.max())


def staircase(tables: dict[str, pd.DataFrame], unseen: tuple[float, float] = (1.0, 1.0)) -> plt.Figure:
    """Two panels a model: what pruning gains in each runtime and the size of the file.

    Whiskers are quartiles.

    Parameters
    ----------
    tables : dict[str, pd.DataFrame]
        Model -> what `staircase_table` returned.
    unseen : tuple[float, float], default (1.0, 1.0)
        The range of `resolution`, drawn as a band.
    """
    height = 0.32 * max(map(len, tables.values())) + 0.9
    figure, grid = plt.subplots(
        len(tables), 2, figsize=(5.8, height * len(tables)), sharey="row", squeeze=False, width_ratios=(3, 1)
    )
    for (model, table), (left, right) in zip(tables.items(), grid, strict=True):
        rows = np.arange(len(table))
        left.axvspan(*unseen, color=PALE, zorder=0, label="too small to see")
        left.barh(rows, table["pruning"], color=PALETTE[0], height=0.6, label="gained by pruning")
        ends, look = (
            (table["low"], table["high"]),
            {"fmt": "none", "ecolor": DENSE, "linewidth": 1, "capsize": 0},
        )
        whiskers(table["pruning"], rows, *ends, left, standing=False, **look)
        left.plot(table["theoretical"], rows, "D", color=PALETTE[1], markersize=5, label="MACs saved")
        left.axvline(1, color=DENSE, linestyle="--", linewidth=1)
        left.set(title=model, xlabel="speed-up over dense, same runtime", ylim=(len(table) - 0.5, -0.5))
        left.set_yticks(rows, table.index)
        right.barh(rows, table["MB"], color=GREY, height=0.6)
        for row, size in enumerate(table["MB"]):
            right.text(size, row, f" {size:.2g}" if size < 10 else f" {size:.0f}", va="center", fontsize=8)
        right.set(xlabel="file, MB", xlim=(0, 1.5 * table["MB"].max()))
        for axes in (left, right):
            axes.grid(axis="y", visible=False)
    figure.legend(
        *grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, columnspacing=1
    )
    return figure


def roofline(roofed: pd.DataFrame, axes: Axes) -> None:
    """Each operator at (FLOPs a byte, FLOP/s), under the roof of the machine.

    Dense operators are hollow, pruned ones filled. The flat part is the fastest that was seen: a matrix
    product or the fastest operator of the model itself.

    Parameters
    ----------
    roofed : pd.DataFrame
        Rows of `measure.roofline.under_roof` of one model, with variant ("dense" or other), peak,
        bandwidth.
    axes : Axes
        Where to draw.
    """
    # No program measures a limit, only a bound from below
    peak = roofed[["peak", "attained"]].max(axis=None) / 1e9
    bandwidth = roofed["bandwidth"].max() / 1e9
    for index, kind in enumerate(KINDS):
        for variant, rows in roofed[roofed["kind"] == kind].groupby("variant"):
            face = "none" if variant == "dense" else PALETTE[index]
            axes.scatter(
                rows["intensity"],
                rows["attained"] / 1e9,
                s=22,
                marker=MARKERS[index],
                facecolors=face,
                edgecolors=PALETTE[index],
                linewidths=0.9,
                zorder=3,
            )
        if (roofed["kind"] == kind).any():
            axes.scatter([], [], s=22, marker=MARKERS[index], color=PALETTE[index], label=kind)
    ends = np.array([roofed["intensity"].min() / 2, peak / bandwidth, roofed["intensity"].max() * 2])
    axes.plot(ends, np.minimum(peak, ends * bandwidth), color=DENSE, linewidth=1.2, zorder=1)
    axes.text(ends[-1], peak * 1.3, f"fastest seen: {peak:.0f} GFLOP/s", ha="right", fontsize=8)
    axes.text(ends[0] * 2.5, ends[0] * bandwidth, f"memory: {bandwidth:.0f} GB/s", fontsize=8)
    axes.set(xscale="log", yscale="log", xlabel="FLOPs a byte", ylim=(None, 3 * peak))


def crossover_table(kernels: pd.DataFrame) -> pd.DataFrame:
    """For each batch and kernel the lowest measured sparsity from which on every product beats the dense one."""
    sparse = kernels[kernels["kernel"] != "dense"].sort_values("sparsity", ascending=False)
    wins = sparse.assign(wins=sparse["ratio_high"] < 1)
    wins["all"] = wins.groupby(["batch", "kernel"])["wins"].cummin()
    return wins[wins["all"]].groupby(["batch", "kernel"])["sparsity"].min().unstack("batch")


def kernels(table: pd.DataFrame, axes: Axes) -> None:
    """Speed-up of each sparse kernel over the dense product against density, with quartiles.

    The ideal is grey.

    Parameters
    ----------
    table : pd.DataFrame
        What `crossover` returned.
    axes : Axes
        Where to draw.
    """
    for index, (name, rows) in enumerate(table[table["kernel"] != "dense"].groupby("kernel")):
        rows = rows.sort_values("sparsity")
        axes.plot(
            1 - rows["sparsity"], 1 / rows["ratio"], label=name, color=PALETTE[index], marker=MARKERS[index]
        )
        axes.fill_between(
            1 - rows["sparsity"],
            1 / rows["ratio_high"],
            1 / rows["ratio_low"],
            color=PALETTE[index],
            alpha=0.2,
            linewidth=0,
        )
    density = np.sort(1 - table["sparsity"].unique())
    axes.plot(density, 1 / density, color=GREY, linestyle=":", label="theoretical")
    axes.axhline(1, color=DENSE, linestyle="--", linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="sparsity")
    axes.set_xticks(density, [f"{1 - value:g}" for value in density], rotation=45)
    axes.xaxis.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, position: f"{value:g}×")
    axes.invert_xaxis()


def storage(table: pd.DataFrame, axes: Axes, column: str = "raw") -> None:
    """Bytes of each format relative to dense raw bytes, against sparsity; one line a format.

    Parameters
    ----------
    table : pd.DataFrame
        format, sparsity, raw and zlib.
    axes : Axes
        Where to draw.
    column : str, default 'raw'
        Raw or zlib.
    """
    dense = table.loc[table["format"] == "dense", "raw"].max()
    for index, (name, rows) in enumerate(table.groupby("format", sort=False)):
        rows = rows.sort_values("sparsity")
        axes.plot(
            rows["sparsity"],
            rows[column] / dense,
            label=name,
            color=PALETTE[index],
            marker=MARKERS[index],
            markersize=4,
        )
    axes.axhline(1, color=DENSE, linestyle="--", linewidth=1)
    axes.set(xlabel="sparsity", ylim=(0, None))


def by_kind(roofed: pd.DataFrame) -> pd.DataFrame:
    """How many times less each kind of operator computes, moves and takes once aligned, and its share of dense time."""
    pair = roofed[roofed["variant"].isin(["dense", "aligned"])]
    sums = pair.groupby(["model", "kind", "variant"])[["flops", "bytes", "seconds"]].sum().unstack("variant")
    table = pd.DataFrame(
        {name: sums[name]["dense"] / sums[name]["aligned"] for name in ("flops", "bytes", "seconds")}
    )
    seconds = sums["seconds"]["dense"]
    return table.assign(share=seconds / seconds.groupby("model").transform("sum"))
