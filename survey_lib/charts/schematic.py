"""Schematic drawings: mask patterns, the tree of categories, coupled channels. No results and no torch."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch, Rectangle

from survey_lib.charts.plots import DENSE, GREY, PALETTE

EMPTY = "#F2F2F2"
SIZE = 0.22  # of a channel


def mask_pattern(mask: np.ndarray, axes: Axes, title: str = "") -> None:
    """A two-dimensional mask as a grid of cells: coloured = kept, light and crossed by nothing = removed.

    Parameters
    ----------
    mask : np.ndarray
        (rows, columns) bool.
    axes : Axes
        Where to draw.
    title : str, default ''
        Title of the grid.

    Raises
    ------
    ValueError
        For a mask that is not two-dimensional.
    """
    mask = np.asarray(mask, dtype=bool)
    if mask.ndim != 2:
        raise ValueError(
            f"a mask drawing is two-dimensional; got shape {mask.shape}: reshape or take a slice"
        )
    rows, columns = mask.shape
    for row, column in np.ndindex(rows, columns):
        colour = PALETTE[0] if mask[row, column] else EMPTY
        axes.add_patch(Rectangle((column, rows - 1 - row), 0.92, 0.92, facecolor=colour, edgecolor="none"))
    axes.set(xlim=(-0.1, columns), ylim=(-0.1, rows), aspect="equal", title=title)
    axes.axis("off")


def tree(branches: Mapping[str, Mapping[str, Sequence[str]]], axes: Axes) -> None:
    """Three levels from left to right: the root, its branches, their twigs with their leaves.

    Parameters
    ----------
    branches : Mapping[str, Mapping[str, Sequence[str]]]
        {branch: {twig: [leaves]}}.
    axes : Axes
        Where to draw.
    """
    twigs = [(branch, twig) for branch, inner in branches.items() for twig in inner]
    heights = {pair: len(twigs) - index for index, pair in enumerate(twigs)}
    middle = np.mean(list(heights.values()))
    for index, (branch, inner) in enumerate(branches.items()):
        y = np.mean([heights[branch, twig] for twig in inner])
        colour = PALETTE[index % len(PALETTE)]
        axes.plot([0, 0.32], [middle, y], color=colour, zorder=1)
        for twig, leaves in inner.items():
            height = heights[branch, twig]
            axes.plot([0.32, 0.58], [y, height], color=colour, zorder=1)
            axes.text(0.6, height, twig, fontsize=8, va="center", color=colour, weight="bold")
            axes.text(0.76, height, textwrap.fill(", ".join(leaves), 80), fontsize=7, va="center")
        box(axes, 0.32, y, branch, colour)
    box(axes, 0, middle, "pruning", DENSE)
    axes.set(xlim=(-0.1, 1.9), ylim=(0.3, len(twigs) + 0.7))
    axes.axis("off")


def box(axes: Axes, x: float, y: float, text: str, colour: str, **font) -> None:
    """A word in a box with round corners.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    x : float
        Middle of the box.
    y : float
        Middle of the box.
    text : str
        The word.
    colour : str
        Colour of the edge.
    **font
        How the word is written, as matplotlib takes it.
    """
    style = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": colour, "linewidth": 1.4}
    axes.text(x, y, text, **{"ha": "center", "va": "center", "fontsize": 9, "bbox": style} | font)


def layer(axes: Axes, x: float, y: float, name: str, channels: int, gone: Sequence[int] = ()) -> None:
    """A layer as a column of channels, its top at (x, y).

    Parameters
    ----------
    axes : Axes
        Where to draw.
    x : float
        Left edge.
    y : float
        Top.
    name : str
        Name above the column.
    channels : int
        Number of channels.
    gone : Sequence[int], default ()
        Those that are coloured and crossed out.
    """
    for channel in range(channels):
        bottom = y - (channel + 1) * SIZE
        lost = channel in gone
        axes.add_patch(
            Rectangle(
                (x, bottom),
                0.5,
                SIZE * 0.85,
                facecolor=PALETTE[1] if lost else EMPTY,
                edgecolor=GREY,
                linewidth=0.6,
                hatch="xxx" if lost else None,
            )
        )
    axes.text(x + 0.25, y + 0.06, name, ha="center", va="bottom", fontsize=7)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], bend: float = 0.0) -> None:
    """Data flow from one point to another.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    start : tuple[float, float]
        Where it starts, (x, y).
    end : tuple[float, float]
        Where it ends, (x, y).
    bend : float, default 0.0
        Curves it, as a shortcut does.
    """
    how = {"arrowstyle": "->", "color": GREY, "linewidth": 1.2, "connectionstyle": f"arc3,rad={bend}"}
    axes.annotate("", xy=end, xytext=start, arrowprops=how)


def operator(axes: Axes, x: float, y: float, symbol: str) -> None:
    """A sum, a concatenation or another joint of the network.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    x : float
        Horizontal centre.
    y : float
        Vertical centre.
    symbol : str
        A sign, such as +.
    """
    axes.add_patch(
        FancyBboxPatch(
            (x - 0.1, y - 0.1), 0.2, 0.2, boxstyle="circle,pad=0.05", facecolor="white", edgecolor=DENSE
        )
    )
    axes.text(x, y, symbol, ha="center", va="center", fontsize=9)


def canvas(axes: Axes, width: float, height: float) -> None:
    """Room for a drawing, without axes.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    width : float
        In units of the drawing.
    height : float
        In units of the drawing.
    """
    axes.set(xlim=(-0.3, width), ylim=(-0.3, height), aspect="equal")
    axes.axis("off")
