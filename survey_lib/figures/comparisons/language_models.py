"""Figures of what a pruned language model loses."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from survey_lib.charts import plots
from survey_lib.charts.export import Drawing

METRICS = {
    "written_loss": "loss on stories by hand, nats",
    "divergence": "KL from dense, own text, nats",
}
SINGLE = ("random", "magnitude", "sparsegpt")  # methods for single weights beside what is cut out


def losses(frame: pd.DataFrame) -> Drawing:
    """Loss on the written stories, and divergence on the dense model's own text, a line a method over sparsity."""
    pruned = frame.query("structure == 'unstructured' and pattern == ''")
    figure, grid = plt.subplots(2, 1, figsize=(5.6, 6.2), sharex=True)
    tables = []
    for (metric, label), axes in zip(METRICS.items(), grid, strict=True):
        table = plots.lines(pruned, axes, "sparsity", metric, err_style="bars")
        tables.append(table.assign(metric=metric))
        plots.logarithm(axes, "y")
        axes.set_ylabel(label)
    plots.dense_line(grid[0], frame.loc[frame["method"] == "dense", "written_loss"].mean())
    grid[0].set_ylim(1)
    grid[1].set_xlabel("sparsity of the linear layers")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    half = pruned[np.isclose(pruned["sparsity"], 0.5) & (pruned["method"] != "random")]
    half = half.groupby("method")["divergence"].mean()
    times = f"{half['magnitude'] / half.min():.1f} times"
    says = (
        f"With half of the weights gone, magnitude is {times} as far from the dense model as the best method"
    )
    return Drawing(figure, says, pd.concat(tables, ignore_index=True))


def structures(frame: pd.DataFrame) -> Drawing:
    """Loss against compression of the whole model: single weights beside heads, FFN channels and blocks."""
    pruned = frame.query("structure == 'structured' or (method in @SINGLE and pattern == '')")
    cut = set(pruned.loc[pruned["structure"] == "structured", "method"])
    dots = {"linestyle": ":", "markersize": 3}
    looks = plots.looks(set(pruned["method"])).items()
    styles = {name: look | ({} if name in cut else dots) for name, look in looks}
    figure, axes = plt.subplots(figsize=(5.6, 4.6))
    table = plots.lines(pruned, axes, "compression", "loss", err_style="bars", styles=styles)
    plots.dense_line(axes, frame.loc[frame["method"] == "dense", "loss"].mean())
    plots.logarithm(axes, "y")
    axes.set(xscale="linear", ylabel="loss, nats a token", ylim=(1, None))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    figure.legend(loc="outside lower center", ncols=3)
    parts = table[table["method"].isin(cut)]
    single = table[table["method"] == "magnitude"]
    more = (parts["mean"] > np.interp(parts["x"], single["x"], single["mean"])).sum()
    share = "every size" if more == len(parts) else f"{more} of {len(parts)} sizes"
    says = f"At {share}, cutting out parts adds more loss than removing single weights by magnitude"
    return Drawing(figure, says, table)
