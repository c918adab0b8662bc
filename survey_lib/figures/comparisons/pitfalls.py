"""Drawings of the faults notebook: where in the chain a fault sits, and its wrong beside its right value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from survey_lib.charts import schematic
from survey_lib.charts.plots import PALETTE, headline

LOOKS = {"wrong": {"color": PALETTE[1], "hatch": "///"}, "right": {"color": PALETTE[0]}}


def chain(places: Mapping[str, Sequence[str]], axes: Axes) -> None:
    """The steps of the chain from left to right, with the faults that sit in each listed below it."""
    for column, (step, faults) in enumerate(places.items()):
        style = {
            "boxstyle": "round,pad=0.35",
            "facecolor": "white",
            "edgecolor": PALETTE[0],
            "linewidth": 1.4,
        }
        axes.text(column, 1, step, ha="center", va="center", fontsize=9, weight="bold", bbox=style)
        axes.text(column, 0.75, "\n".join(faults), ha="center", va="top", fontsize=7, linespacing=1.6)
        if column:
            schematic.arrow(axes, (column - 0.68, 1), (column - 0.32, 1))
    axes.set(xlim=(-0.5, len(places) - 0.5), ylim=(0.25, 1.15))
    axes.axis("off")


def pairs(table: pd.DataFrame, title: str, columns: int = 3) -> Figure:
    """One panel a fault with two bars, each with its own scale and its value written beside it.

    `table`: index = fault; columns `shows` (what the number is), `wrong`, `right`.
    """
    rows = -(-len(table) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(2.6 * columns, 1.15 * rows + 0.4), squeeze=False)
    for axes, fault in zip(grid.flat, table.itertuples(), strict=False):
        top = max(fault.wrong, fault.right)
        for place, name in enumerate(LOOKS):
            value = getattr(fault, name)
            axes.barh(place, value, edgecolor="white", linewidth=0.3, **LOOKS[name])
            axes.text(value + 0.03 * top, place, f"{value:g}", va="center", fontsize=7)
        axes.set_yticks(range(len(LOOKS)), LOOKS, fontsize=7)
        axes.set(xlim=(0, 1.3 * top), ylim=(1.6, -0.6), xticks=[])
        axes.set_title(fault.Index, fontsize=8)
        axes.set_xlabel(fault.shows, fontsize=7)
        axes.grid(False)
    for axes in grid.flat[len(table) :]:
        axes.set_visible(False)
    headline(figure, title)
    return figure
