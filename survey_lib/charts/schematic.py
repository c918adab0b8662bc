"""Parts of schematic drawings: layers as columns of channels, boxes and arrows. No results and no torch."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from survey_lib.charts.looks import GREY

EMPTY = "#F2F2F2"


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


def layer(
    axes: Axes, x: float, top: float, name: str, colours: Sequence[str], labels: Sequence[str] = (), **font
) -> None:
    """A layer as a column of channels, the first on top, each numbered on its left.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    x : float
        Left edge.
    top : float
        Upper edge.
    name : str
        Name above the column.
    colours : Sequence[str]
        One a channel.
    labels : Sequence[str], default ()
        What is written into the channels.
    **font
        How name and labels are written.
    """
    bottoms = top - 0.5 * np.arange(1, len(colours) + 1)
    bars = axes.barh(bottoms, 0.7, 0.44, x, align="edge", color=colours, edgecolor=GREY, linewidth=0.7)
    if labels:
        axes.bar_label(bars, labels, label_type="center", **font)
    for number, bottom in enumerate(bottoms):
        axes.text(x - 0.08, bottom + 0.21, str(number), ha="right", va="center", fontsize=8, color=GREY)
    axes.text(x + 0.35, top + 0.12, name, ha="center", va="bottom", **font)


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
