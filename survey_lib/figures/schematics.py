"""Figures drawn from the catalogue of methods or from a rule, without results."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from survey_lib.analysis.tables import matching
from survey_lib.charts.export import Drawing
from survey_lib.charts.looks import DENSE, PALETTE
from survey_lib.charts.schematic import EMPTY, arrow, box, layer

NEXT = ((6.9, 2.9), (8.1, 2.9), 0)  # the arrow from a sum to the layer that reads it
# A joint -> its layers (left, top, name, channels, the one that goes), its arrows (start, end, bend), its sign.
JOINTS = {
    "sum: one channel, both inputs": (
        [(0, 4, "stem", 4, 1), (3.6, 5, "conv", 4, 1), (8.4, 4, "next", 4, 1)],
        [((0.8, 3.3), (3.3, 4), 0), ((4.4, 4), (6.1, 3.2), 0), ((0.8, 2.3), (6.2, 2.6), 0.35), NEXT],
        (6.5, 3, "+"),
    ),
    "concatenation: b's 1 is next's 4": (
        [(0, 5.6, "a", 3, None), (0, 2.6, "b", 3, 1), (6.4, 4.6, "next", 6, 4)],
        [((0.8, 4.9), (3.3, 3.4), 0), ((0.8, 1.9), (3.3, 2.8), 0), ((4.1, 3.1), (6.1, 3.1), 0)],
        (3.7, 3.1, "‖"),
    ),
    "depthwise: the filter goes too": (
        [(0, 4.4, "expand", 5, 2), (3.4, 4.4, "depthwise", 5, 2), (6.8, 4.4, "project", 5, 2)],
        [((0.8, 3.2), (3.1, 3.2), 0), ((4.2, 3.2), (6.5, 3.2), 0)],
        None,
    ),
    "padded shortcut: 1 becomes 3": (
        [(0, 4.4, "stage 1", 4, 1), (3.6, 5.4, "conv", 8, 3), (8.4, 4.9, "next", 8, 3)],
        [((0.8, 3.7), (3.3, 3.7), 0), ((4.4, 3.4), (6.1, 3), 0), ((0.8, 2.7), (6.2, 2.4), 0.55), NEXT],
        (6.5, 2.8, "+"),
    ),
}


def taxonomy() -> Drawing:
    """The catalogue as a tree: structure, category, methods."""
    table = matching()
    rows = table.groupby(["structure", "category"], sort=False)["method"].agg(", ".join).reset_index()
    rows["y"] = -rows.index
    figure, axes = plt.subplots(figsize=(9, 0.55 * len(rows) + 0.8))
    for colour, (structure, twigs) in zip(PALETTE, rows.groupby("structure", sort=False), strict=False):
        middle = twigs["y"].mean()
        axes.plot([0, 0.32], [rows["y"].mean(), middle], color=colour, zorder=1)
        box(axes, 0.32, middle, structure, colour)
        for twig in twigs.itertuples():
            axes.plot([0.32, 0.58], [middle, twig.y], color=colour, zorder=1)
            axes.text(0.6, twig.y, twig.category, fontsize=8, va="center", color=colour, weight="bold")
            axes.text(0.76, twig.y, textwrap.fill(twig.method, 80), fontsize=7, va="center")
    box(axes, 0, rows["y"].mean(), "pruning", DENSE)
    axes.set(xlim=(-0.1, 1.9), ylim=(0.7 - len(rows), 0.7))
    axes.axis("off")
    says = f"{len(table)} methods in {len(rows)} categories"
    return Drawing(figure, says, table[["method", "category", "when"]])


def patterns() -> Drawing:
    """One matrix at half density, pruned by magnitude at five granularities."""
    weight = np.abs(np.random.default_rng(0).normal(size=(8, 16)))
    fours = weight.reshape(-1, 4)
    masks = {
        "weight": _largest(weight, (1, 1)),
        "2:4": (fours >= np.sort(fours, axis=1)[:, 2:3]).reshape(weight.shape),
        "vector": _largest(weight, (1, 4)),
        "block": _largest(weight, (2, 4)),
        "filter": _largest(weight, (1, 16)),
    }
    kept = {name: weight[mask].sum() / weight.sum() for name, mask in masks.items()}
    figure, grid = plt.subplots(1, len(masks), figsize=(10, 1.9))
    look = {"cmap": [EMPTY, PALETTE[0]], "cbar": False, "linewidths": 0.5, "square": True}
    for axes, (name, mask) in zip(grid, masks.items(), strict=True):
        sns.heatmap(mask, ax=axes, xticklabels=False, yticklabels=False, **look)
        axes.set_title(f"{name}: {kept[name]:.0%}")
    data = pd.DataFrame({"granularity": list(kept), "magnitude_kept": list(kept.values())})
    return Drawing(figure, "The coarser the unit, the less magnitude is kept at the same density", data)


def _largest(weight: np.ndarray, block: tuple[int, int]) -> np.ndarray:
    """Keep the half of the blocks whose magnitudes sum highest."""
    rows, columns = (size // part for size, part in zip(weight.shape, block, strict=True))
    sums = weight.reshape(rows, block[0], columns, block[1]).sum((1, 3))
    return np.kron(sums > np.median(sums), np.ones(block, dtype=bool))


def coupled_channels() -> Drawing:
    """The same channel through a sum, a concatenation, a depthwise convolution and a padded shortcut."""
    figure, grid = plt.subplots(2, 2, figsize=(7.6, 5.4))
    for axes, (title, (layers, arrows, sign)) in zip(grid.flat, JOINTS.items(), strict=True):
        for left, top, name, channels, gone in layers:
            colours = [PALETTE[1] if channel == gone else EMPTY for channel in range(channels)]
            layer(axes, left, top, name, colours, fontsize=8)
        for start, end, bend in arrows:
            arrow(axes, start, end, bend)
        if sign:
            box(axes, *sign, DENSE)
        axes.set(title=title, xlim=(-0.5, 9.6), ylim=(0, 6.3))
        axes.axis("off")
    grid[1, 1].text(3.9, 0.4, "2 zero channels on each side", fontsize=8, ha="center")
    rows = [
        ("sum", "stem, conv, next"),
        ("concat", "b, and next three positions further"),
        ("depthwise", "expand, depthwise, project"),
        ("padded shortcut", "stage 1, conv and next two positions further"),
    ]
    data = pd.DataFrame(rows, columns=["joint", "layers that lose the channel"])
    return Drawing(figure, "Channels that a joint ties together go together", data)
