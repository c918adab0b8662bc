"""Drawings of the faults notebook: where in the chain a fault sits, and its wrong beside its right value."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from survey_lib.charts import schematic
from survey_lib.charts.export import Drawing
from survey_lib.charts.plots import PALETTE, headline

LOOKS = {"wrong": {"color": PALETTE[1], "hatch": "///"}, "right": {"color": PALETTE[0]}}


FAULTS = {
    "score": ["L1 without abs"],
    "select": ["ties at a threshold", "masks multiplied"],
    "mask": ["batch-norm shift"],
    "train": ["weights revived", "aliased rewind"],
    "cut": ["wrong input slices", "padded shortcut"],
    "measure": ["MACs read 0", "ragged last batch", "masked is not faster", "stale batch norm"],
    "compare": ["a ratio of what?", "weak random", "part of a test set", "wall-clock cost"],
}


def faults() -> Drawing:
    """Where in the chain from score to comparison each fault of the lesson sits."""
    figure, axes = plt.subplots(figsize=(5.6, 4.2))
    chain(FAULTS, axes)
    count = sum(map(len, FAULTS.values()))
    text = f"{count} faults, at least one in every step, and none of them raises an error"
    headline(figure, text)
    rows = [(step, fault) for step, found in FAULTS.items() for fault in found]
    alt = "; ".join(f"{step}: {', '.join(found)}" for step, found in FAULTS.items())
    return Drawing(
        figure, f"{text}.", f"The chain of pruning. {alt}.", pd.DataFrame(rows, columns=["step", "fault"])
    )


def chain(places: Mapping[str, Sequence[str]], axes: Axes) -> None:
    """The steps of the chain from top to bottom, with the faults that sit in each listed beside it.

    Parameters
    ----------
    places : Mapping[str, Sequence[str]]
        Step -> its faults.
    axes : Axes
        Where to draw.
    """
    for row, (step, faults) in enumerate(places.items()):
        schematic.box(axes, 0, -row, step, PALETTE[0], fontsize=10, weight="bold")
        axes.text(0.8, -row, textwrap.fill(", ".join(faults), 42), va="center", fontsize=9.5)
        if row:
            schematic.arrow(axes, (0, 0.7 - row), (0, 0.3 - row))
    axes.set(xlim=(-0.6, 5), ylim=(0.4 - len(places), 0.5))
    axes.axis("off")


def pairs(table: pd.DataFrame, title: str, columns: int = 2) -> Figure:
    """One panel a fault with two bars, each with its own scale and its value written beside it.

    Parameters
    ----------
    table : pd.DataFrame
        Index = fault; columns `shows` (what the number is), `wrong`, `right`.
    title : str
        Title of the figure.
    columns : int, default 2
        Panels a row.
    """
    rows = -(-len(table) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(2.8 * columns, 1.15 * rows + 0.4), squeeze=False)
    for axes, fault in zip(grid.flat, table.itertuples(), strict=False):
        top = max(fault.wrong, fault.right)
        for place, name in enumerate(LOOKS):
            value = getattr(fault, name)
            axes.barh(place, value, edgecolor="white", linewidth=0.3, **LOOKS[name])
            axes.text(value + 0.03 * top, place, f"{value:g}", va="center", fontsize=8.5)
        axes.set_yticks(range(len(LOOKS)), LOOKS, fontsize=8.5)
        axes.set(xlim=(0, 1.3 * top), ylim=(1.6, -0.6), xticks=[])
        axes.set_title(fault.Index, fontsize=9.5)
        axes.set_xlabel(fault.shows, fontsize=8.5)
        axes.grid(False)
    for axes in grid.flat[len(table) :]:
        axes.set_visible(False)
    headline(figure, title)
    return figure
