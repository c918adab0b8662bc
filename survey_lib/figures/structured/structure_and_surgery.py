"""A drawing of the idea of the tracer: labels of channels that travel through a residual block."""

import matplotlib.pyplot as plt
import pandas as pd

from survey_lib.charts.export import Drawing
from survey_lib.charts.looks import DENSE, PALETTE
from survey_lib.charts.schematic import arrow, layer

STEM, BRANCH, PAD = "abcd", "pqrstuvw", "·"
PADDED = PAD * 2 + STEM + PAD * 2
TIED = [other if label == PAD else f"{label} = {other}" for label, other in zip(PADDED, BRANCH, strict=True)]


def travelling_labels() -> Drawing:
    """Four labels of a stem pass a padded shortcut and meet the eight labels of the branch in a sum."""
    figure, axes = plt.subplots(figsize=(9, 4.4))
    colours = [(colour, 0.75) for colour in PALETTE[: len(STEM)]]
    padded = ["white"] * 2 + colours + ["white"] * 2
    layer(axes, 0, 2.2, "stem writes", colours, STEM)
    layer(axes, 2.3, 4.1, "shortcut pads\ntwo zeros a side", padded, PADDED)
    layer(axes, 4.6, 4.1, "conv 2 writes", padded, BRANCH)
    layer(axes, 6.9, 4.1, "the sum ties", padded, TIED)
    layer(axes, 9.2, 4.1, "next layer reads", padded, TIED)
    arrow(axes, (0.75, 1.4), (2.15, 2.2))
    arrow(axes, (0.75, 0.9), (4.5, 0.05), bend=0.25)
    axes.text(2.5, -0.45, "conv 1 and its own channels, then conv 2", fontsize=9, ha="center", color=DENSE)
    axes.text(4.05, 2.05, "+", fontsize=16, ha="center", va="center")
    arrow(axes, (5.4, 2.05), (6.75, 2.05))
    arrow(axes, (8.1, 2.05), (9.05, 2.05))
    axes.set(xlim=(-0.6, 10.5), ylim=(-0.7, 5.0))
    axes.axis("off")
    at = PADDED.index("b")
    data = pd.DataFrame({"shortcut": list(PADDED), "branch": list(BRANCH), "after the sum": TIED})
    return Drawing(figure, f"Channel 1 of the stem is channel {at} behind the padded sum", data)
