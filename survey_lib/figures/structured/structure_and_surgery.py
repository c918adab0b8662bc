"""Drawings of channels that are tied, and of the labels with which the tracer finds them."""

import matplotlib.pyplot as plt
import pandas as pd

from survey_lib.charts.export import Drawing
from survey_lib.charts.looks import DENSE, PALETTE
from survey_lib.charts.schematic import EMPTY, arrow, box, layer

# A joint -> its layers (left, top, channels, the one that goes) and signs (middle), and the arrows between these.
JOINTS = {
    "sum: one channel, both inputs": (
        {"stem": (0, 4, 4, 1), "conv": (3.6, 5, 4, 1), "+": (6.5, 3), "next": (8.4, 4, 4, 1)},
        [("stem", "conv", 0), ("conv", "+", 0), ("stem", "+", 0.35), ("+", "next", 0)],
    ),
    "concatenation: b's 1 is next's 4": (
        {"a": (0, 5.6, 3, None), "b": (0, 2.6, 3, 1), "‖": (3.7, 3.1), "next": (6.4, 4.6, 6, 4)},
        [("a", "‖", 0), ("b", "‖", 0), ("‖", "next", 0)],
    ),
    "depthwise: the filter goes too": (
        {"expand": (0, 4.4, 5, 2), "depthwise": (3.4, 4.4, 5, 2), "project": (6.8, 4.4, 5, 2)},
        [("expand", "depthwise", 0), ("depthwise", "project", 0)],
    ),
    "padded shortcut: 1 becomes 3": (
        {"stage 1": (0, 4.4, 4, 1), "conv": (3.6, 5.8, 8, 3), "+": (6.5, 2.9), "next": (8.4, 4.9, 8, 3)},
        [("stage 1", "conv", 0), ("conv", "+", 0), ("stage 1", "+", 0.65), ("+", "next", 0)],
    ),
}
LOST = {
    "sum": "stem, conv, next",
    "concat": "b, and next three positions further",
    "depthwise": "expand, depthwise, project",
    "padded shortcut": "stage 1, conv and next two positions further",
}
STEM, BRANCH, PAD = "abcd", "pqrstuvw", "·"
PADDED = PAD * 2 + STEM + PAD * 2
TIED = [other if label == PAD else f"{label} = {other}" for label, other in zip(PADDED, BRANCH, strict=True)]


def coupled_channels() -> Drawing:
    """The same channel through a sum, a concatenation, a depthwise convolution and a padded shortcut."""
    figure, grid = plt.subplots(2, 2, figsize=(7.6, 5.4))
    for axes, (title, (parts, arrows)) in zip(grid.flat, JOINTS.items(), strict=True):
        ends = {}
        for name, (left, top, *channels) in parts.items():
            if not channels:
                box(axes, left, top, name, DENSE)
                ends[name] = (left - 0.4, top), (left + 0.3, top)
                continue
            count, gone = channels
            colours = [PALETTE[1] if channel == gone else EMPTY for channel in range(count)]
            layer(axes, left, top, name, colours, fontsize=8)
            ends[name] = (left - 0.3, top - count / 4), (left + 0.8, top - count / 4)
        for start, end, bend in arrows:
            arrow(axes, ends[start][1], ends[end][0], bend)
        axes.set(title=title, xlim=(-0.5, 9.6), ylim=(0, 6.3))
        axes.axis("off")
    grid[1, 1].text(3.9, 0.4, "2 zero channels on each side", fontsize=8, ha="center")
    data = pd.DataFrame(LOST.items(), columns=["joint", "layers that lose the channel"])
    return Drawing(figure, "Channels that a joint ties together go together", data)


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
    arrow(axes, (5.4, 2.05), (6.75, 2.05))
    arrow(axes, (8.1, 2.05), (9.05, 2.05))
    axes.text(2.5, -0.45, "conv 1 and its own channels, then conv 2", fontsize=9, ha="center", color=DENSE)
    axes.text(4.05, 2.05, "+", fontsize=16, ha="center", va="center")
    axes.set(xlim=(-0.6, 10.5), ylim=(-0.7, 5.0))
    axes.axis("off")
    data = pd.DataFrame({"shortcut": list(PADDED), "branch": list(BRANCH), "after the sum": TIED})
    says = f"Channel 1 of the stem is channel {PADDED.index('b')} behind the padded sum"
    return Drawing(figure, says, data)
