"""Figures of what a pruned language model loses."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axis import Axis
from matplotlib.ticker import NullFormatter

from survey_lib.charts import plots
from survey_lib.charts.export import Drawing, titled

METRICS = {
    "written_loss": "loss on stories by hand, nats",
    "divergence": "KL from dense, own text, nats",
}
SINGLE = ("random", "magnitude", "sparsegpt")  # methods for single weights beside what is cut out


def losses(frame: pd.DataFrame) -> Drawing:
    """Loss on the written stories, and divergence on the dense model's own text, a line a method over sparsity."""
    pruned = frame[(frame["structure"] == "unstructured") & (frame["pattern"] == "")]
    figure, grid = plt.subplots(2, 1, figsize=(5.6, 6.2), sharex=True)
    tables = []
    for (metric, label), axes in zip(METRICS.items(), grid, strict=True):
        tables.append(plots.lines(pruned, axes, "sparsity", metric, "bars").assign(metric=metric))
        axes.set(yscale="log", ylabel=label)
        plain(axes.yaxis)
    level = frame.loc[frame["method"] == "dense", "written_loss"].mean()
    plots.dense_line(grid[0], level)
    grid[0].set_yticks([1, 2, 4, 8, 16])
    grid[1].set_xlabel("sparsity of the linear layers")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    about = (
        "Cross-entropy on five stories written by hand (1,103 tokens), and KL divergence from the dense model on "
        "text that it wrote itself (51,200 tokens), against the share of weights removed from the linear layers "
        "of stories260K, without recovery; logarithmic. Mean and standard deviation over draws of the calibration "
        "text."
    )
    return titled(figure, _order(pruned), about, pd.concat(tables, ignore_index=True))


def _order(pruned: pd.DataFrame) -> str:
    """How magnitude compares with the best method at half of the weights."""
    half = pruned[np.isclose(pruned["sparsity"], 0.5) & (pruned["method"] != "random")]
    half = half.groupby("method")["divergence"].mean()
    times = half["magnitude"] / half.min()
    return f"With half of the weights gone, magnitude is {times:.1f} times as far from the dense model as the best method"


def structures(frame: pd.DataFrame) -> Drawing:
    """Loss against compression of the whole model: single weights beside heads, FFN channels and blocks."""
    pruned = frame[(frame["structure"] == "structured") | frame["method"].isin(SINGLE)]
    cut = set(pruned.loc[pruned["structure"] == "structured", "method"])
    figure, axes = plt.subplots(figsize=(5.6, 4.6))
    dots = {"linestyle": ":", "markersize": 3}
    styles = {
        name: look | ({} if name in cut else dots)
        for name, look in plots.looks(set(pruned["method"])).items()
    }
    table = plots.lines(pruned, axes, "compression", "loss", "bars", styles)
    level = frame.loc[frame["method"] == "dense", "loss"].mean()
    plots.dense_line(axes, level)
    axes.set(xscale="linear", ylabel="loss, nats a token", yscale="log", yticks=[1, 2, 4, 8])
    axes.xaxis.set_major_formatter(lambda value, position: f"{value:g}×")
    plain(axes.yaxis)
    figure.legend(loc="outside lower center", ncols=3)
    parts = table[table["method"].isin(cut)]
    single = table[table["method"] == "magnitude"]
    more = (parts["mean"] > np.interp(parts["x"], single["x"], single["mean"])).sum()
    share = "every size" if more == len(parts) else f"{more} of {len(parts)} sizes"
    says = f"At {share}, cutting out parts adds more loss than removing single weights by magnitude"
    about = (
        "Loss against size: parts cut out (solid), single weights set to 0 (dotted). "
        "Stories260K on 51,200 tokens that the dense model wrote, embedding included, without recovery; mean and "
        "standard deviation over draws of the calibration text."
    )
    return titled(figure, says, about, table)


def plain(axis: Axis) -> None:
    """Plain numbers at the large ticks of a logarithmic axis, none at the small ones."""
    axis.set_major_formatter(lambda value, position: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())
