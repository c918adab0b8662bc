"""A drawing of the idea of the tracer: labels of channels that travel through a residual block."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from survey_lib.charts import schematic
from survey_lib.charts.export import Drawing
from survey_lib.charts.plots import DENSE, GREY, PALETTE, headline

STEM, BRANCH, PAD = "abcd", "pqrstuvw", "·"
PADDED = PAD * 2 + STEM + PAD * 2
TIED = [other if label == PAD else f"{label} = {other}" for label, other in zip(PADDED, BRANCH, strict=True)]


def travelling_labels() -> Drawing:
    """Four labels of a stem pass a padded shortcut and meet the eight labels of the branch in a sum."""
    figure, axes = plt.subplots(figsize=(9, 4.4))
    columns = {
        "stem writes": (0.0, 2.2, STEM, 0),
        "shortcut pads\ntwo zeros a side": (2.3, 4.1, PADDED, 2),
        "conv 2 writes": (4.6, 4.1, BRANCH, 2),
        "the sum ties": (6.9, 4.1, TIED, 2),
        "next layer reads": (9.2, 4.1, TIED, 2),
    }
    for title, column in columns.items():
        _column(axes, title, *column)
    schematic.arrow(axes, (0.75, 1.4), (2.15, 2.2))
    schematic.arrow(axes, (0.75, 0.9), (4.5, 0.05), bend=0.25)
    axes.text(2.5, -0.45, "conv 1 and its own channels, then conv 2", fontsize=9, ha="center", color=DENSE)
    axes.text(4.05, 2.05, "+", fontsize=16, ha="center", va="center")
    schematic.arrow(axes, (5.4, 2.05), (6.75, 2.05))
    schematic.arrow(axes, (8.1, 2.05), (9.05, 2.05))
    axes.set(xlim=(-0.6, 10.5), ylim=(-0.7, 5.0))
    axes.axis("off")
    at = PADDED.index("b")
    text = f"Channel 1 of the stem is channel {at} behind the padded sum"
    headline(figure, text)
    caption = (
        f"{text}: the shortcut puts two zero channels on each side, the sum ties label b to label "
        f"{BRANCH[at]}, and what meets a zero must stay (grey)."
    )
    data = pd.DataFrame({"shortcut": list(PADDED), "branch": list(BRANCH), "after the sum": TIED})
    return Drawing(figure, caption, caption, data)


def _column(axes: Axes, title: str, x: float, top: float, labels: Sequence[str], first_free: int) -> None:
    """Channels from top to bottom, each with its position on the left and its label inside."""
    for position, label in enumerate(labels):
        free, bottom = 0 <= position - first_free < len(STEM), top - (position + 1) * 0.5
        colour = PALETTE[position - first_free] if free else "white"
        axes.add_patch(
            Rectangle(
                (x, bottom),
                0.7,
                0.44,
                facecolor=colour,
                edgecolor=GREY,
                alpha=0.75 if free else 1,
                linewidth=0.8,
            )
        )
        axes.text(
            x + 0.35,
            bottom + 0.21,
            label,
            ha="center",
            va="center",
            fontsize=10,
            color=DENSE if free else GREY,
        )
        axes.text(x - 0.08, bottom + 0.21, str(position), ha="right", va="center", fontsize=8, color=GREY)
    axes.text(x + 0.35, top + 0.12, title, ha="center", va="bottom", fontsize=9.5)
