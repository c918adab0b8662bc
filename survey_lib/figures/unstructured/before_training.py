"""Drawings of what pruning at initialisation leaves in each layer, and of what scores add up to."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from survey_lib.charts.plots import DENSE, GREY, MARKERS, PALETTE
from survey_lib.figures.unstructured.lottery_tickets import LOOKS, kept_axis


def layer_densities(table: pd.DataFrame) -> Figure:
    """Density of each layer against the sparsity of the network, one panel a method, one line a layer.

    `table`: method, sparsity, layer, density. Emptied layers stand as open marks at the bottom; the dashed
    line is where every layer would have the network's density.
    """
    methods, layers = list(dict.fromkeys(table["method"])), list(dict.fromkeys(table["layer"]))
    floor = table.loc[table["density"] > 0, "density"].min() / 3
    shades = plt.get_cmap("cividis")(np.linspace(0, 0.9, len(layers)))
    figure, grid = plt.subplots(1, len(methods), figsize=(1.8 * len(methods), 3.8), sharey=True, squeeze=False)
    for axes, method in zip(grid.flat, methods, strict=True):
        for number, layer in enumerate(layers):
            rows = table[(table["method"] == method) & (table["layer"] == layer)].sort_values("sparsity")
            kept, empty = 1 - rows["sparsity"], rows["density"] == 0
            axes.plot(kept, rows["density"].where(~empty, floor), color=shades[number], linewidth=1.2,
                      marker=MARKERS[number], markersize=4, label=layer)  # fmt: skip
            axes.plot(kept[empty], np.full(empty.sum(), floor), "o", markersize=8, markerfacecolor="none",
                      color=PALETTE[1])  # fmt: skip
        _frame(axes, table, method)
    grid[0, 0].set_ylabel("kept share of the layer")
    grid[0, len(methods) // 2].set_xlabel("kept weights of the network, %")  # a supxlabel would lie on the legend
    handles, names = grid[0, 0].get_legend_handles_labels()
    ring = plt.Line2D([], [], linestyle="", marker="o", markersize=8, markerfacecolor="none", color=PALETTE[1])
    figure.legend([*handles, ring], [*names, "layer is empty"], loc="outside lower center", ncols=4)
    return figure


def _frame(axes: Axes, table: pd.DataFrame, title: str) -> None:
    sparsities = sorted(table["sparsity"].unique())
    uniform = [1 - sparsity for sparsity in sparsities]
    axes.plot(uniform, uniform, color=GREY, linestyle="--", linewidth=1, zorder=0)
    kept_axis(axes, sparsities)
    axes.set_yscale("log")
    axes.set(title=title, xlabel="")


def layer_sums(sums: pd.DataFrame, axes: Axes) -> None:
    """Sum of the scores of each layer over their mean, a line a method; conserved scores lie on the line at 1.

    `sums`: rows are layers in their order, columns methods.
    """
    relative = sums / sums.mean()
    for number, name in enumerate(relative):
        axes.plot(range(len(relative)), relative[name], color=PALETTE[number], marker=MARKERS[number], label=name)
    axes.axhline(1, color=DENSE, linestyle="--", linewidth=1, zorder=0)
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(lambda value, position: f"{value:g}")
    axes.set_xticks(range(len(relative)), relative.index, rotation=20, ha="right")
    axes.set(xlabel="layer", ylabel="sum of scores / mean over layers")
    axes.legend()


def in_and_out(flows: dict[str, tuple[np.ndarray, np.ndarray]], axes: Axes) -> None:
    """For each hidden unit, scores of its inputs against scores of its outputs; conserved scores lie on the diagonal.

    `flows`: method -> (sum over incoming, sum over outgoing weights), both divided by their mean here.
    """
    for number, (name, (incoming, outgoing)) in enumerate(flows.items()):
        axes.plot(incoming / incoming.mean(), outgoing / outgoing.mean(), linestyle="", marker=MARKERS[number],
                  markersize=3.5, color=PALETTE[number], alpha=0.7, label=name)  # fmt: skip
    axes.axline((1, 1), slope=1, color=DENSE, linestyle="--", linewidth=1, zorder=0)
    axes.set(xlabel="scores into a unit / mean", ylabel="scores out of a unit / mean")
    axes.legend()


def signal_and_accuracy(table: pd.DataFrame, axes: Axes) -> None:
    """Accuracy against the signal a mask lets through: a marker a method, a colour a ticket, filled where original.

    `table`: method, ticket, signal, accuracy; one row a mask. A signal of zero stands at the left edge.
    """
    floor = table.loc[table["signal"] > 0, "signal"].min() / 3
    for number, (method, rows) in enumerate(table.groupby("method")):
        for ticket, points in rows.groupby("ticket"):
            axes.plot(points["signal"].clip(lower=floor), points["accuracy"], linestyle="", marker=MARKERS[number],
                      color=LOOKS[ticket]["color"], markerfacecolor=None if ticket == "original" else "none")  # fmt: skip
        axes.plot([], [], linestyle="", marker=MARKERS[number], color=DENSE, label=method)
    for ticket in dict.fromkeys(table["ticket"]):
        axes.plot([], [], linewidth=5, color=LOOKS[ticket]["color"], label=ticket)
    axes.set_xscale("log")
    axes.set(xlabel="signal left (R of the masked / R of the dense network)", ylabel="test accuracy")
    axes.legend(loc="lower right")
