"""Drawings that explain and show no results, for the notebooks 00 (tree, chain), 09 (joints), 10 and 19."""

import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import yaml

from survey_lib.analysis.tables import matching
from survey_lib.charts.export import Drawing
from survey_lib.charts.plots import DENSE, EMPTY, GREY, PALETTE, arrow, box, layer

JOINTS, FAULTS = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8")).values()
WEIGHT = np.array([[0.0, 0.3, 1.0], [-1.1, 2.0, -2.1], [0.5, -3.0, 0.9], [4.0, 0.1, -0.2]])
STEPS = ("weight", "score", "select", "mask", "what is left")
STEM, PADDED, BRANCH = "abcd", "··abcd··", "pqrstuvw"  # labels of channels; zeros have none


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
    data = table[["method", "category", "when"]]
    return Drawing(figure, f"{len(table)} methods in {len(rows)} categories", data)


def chain() -> Drawing:
    """Half of one matrix removed, once as single weights and once as whole rows; what is removed is grey."""
    size = np.abs(WEIGHT)
    scores = {"magnitude\n(weights, masked)": size, "l1-filter\n(rows, cut out)": size.sum(1, keepdims=True)}
    figure, grid = plt.subplots(2, len(STEPS), figsize=(9, 4.6), width_ratios=(3, 3, 4, 3, 3))
    for row, (name, score) in zip(grid, scores.items(), strict=True):
        mask = np.broadcast_to(score > np.median(score), WEIGHT.shape)
        left = np.where(mask, WEIGHT, 0)[mask.any(1)]
        _cells(row[0], WEIGHT, np.ones_like(WEIGHT))
        _cells(row[1], score, np.ones_like(score))
        _ranked(row[2], score)
        _cells(row[3], mask.astype(int), mask)
        _cells(row[4], left, left != 0)
        row[0].set_ylabel(name)
    for axes, step in zip(grid[0], STEPS, strict=True):
        axes.set_title(step)
    masked, cut = WEIGHT.size, left.size  # rows that were cut out are not stored
    says = f"Half removed both times: the masked matrix still stores {masked} numbers, the cut one {cut}"
    data = pd.DataFrame({"unit": ["weight", "row"], "removed": 0.5, "stored": [masked, cut]})
    return Drawing(figure, says, data)


def _cells(axes: plt.Axes, values: np.ndarray, keep: np.ndarray) -> None:
    """A matrix as a table of numbers, removed entries on grey."""
    look = {"cmap": [EMPTY, "#CFE3F1"], "vmin": 0, "vmax": 1, "cbar": False, "linewidths": 2}
    sns.heatmap(keep, annot=values, fmt="g", annot_kws={"fontsize": 7.5}, ax=axes, **look)
    axes.set(xlim=(0, 3), ylim=(4, 0), aspect="equal", xticks=[], yticks=[])


def _ranked(axes: plt.Axes, score: np.ndarray) -> None:
    """Scores in ascending order, the lower half hatched."""
    removed, kept = np.split(np.sort(score, axis=None), 2)
    axes.bar(range(len(removed)), removed, color=GREY, hatch="///", edgecolor="white", label="removed")
    axes.bar(range(len(removed), score.size), kept, color=PALETTE[0], edgecolor="white", label="kept")
    axes.axvline(len(removed) - 0.5, color=DENSE, linestyle="--", linewidth=1)
    axes.legend(loc="upper left")
    axes.set(xticks=[], yticks=[])
    axes.grid(False)


def patterns() -> Drawing:
    """One matrix at half density, pruned by magnitude at five granularities."""
    weight = np.abs(np.random.default_rng(0).normal(size=(8, 16)))
    fours = weight.reshape(-1, 4)
    masks = {
        "weight": _largest(weight, 1, 1),
        "2:4": (fours >= np.sort(fours, axis=1)[:, 2:3]).reshape(weight.shape),
        "vector": _largest(weight, 1, 4),
        "block": _largest(weight, 2, 4),
        "filter": _largest(weight, 1, 16),
    }
    kept = {name: weight[mask].sum() / weight.sum() for name, mask in masks.items()}
    figure, grid = plt.subplots(1, len(masks), figsize=(10, 1.9))
    look = {"cmap": [EMPTY, PALETTE[0]], "cbar": False, "linewidths": 0.5, "square": True}
    for axes, (name, mask) in zip(grid, masks.items(), strict=True):
        sns.heatmap(mask, ax=axes, xticklabels=False, yticklabels=False, **look)
        axes.set_title(f"{name}: {kept[name]:.0%}")
    data = pd.DataFrame(kept.items(), columns=["granularity", "magnitude_kept"])
    return Drawing(figure, "The coarser the unit, the less magnitude is kept at the same density", data)


def _largest(weight: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Keep the half of the blocks of rows x columns whose magnitudes sum highest."""
    sums = weight.reshape(len(weight) // rows, rows, -1, columns).sum((1, 3))
    return np.kron(sums > np.median(sums), np.ones((rows, columns), dtype=bool))


def coupled_channels() -> Drawing:
    """The same channel through a sum, a concatenation, a depthwise convolution and a padded shortcut."""
    figure, grid = plt.subplots(2, 2, figsize=(7.6, 5.4))
    for axes, (title, joint) in zip(grid.flat, JOINTS.items(), strict=True):
        ends = {}
        for name, (left, top, count, gone) in joint["layers"].items():
            colours = [PALETTE[1] if channel == gone else EMPTY for channel in range(count)]
            layer(axes, left, top, name, colours, fontsize=8)
            ends[name] = (left - 0.3, top - count / 4), (left + 0.8, top - count / 4)
        for sign, (x, y) in joint["signs"].items():
            box(axes, x, y, sign, DENSE)
            ends[sign] = (x - 0.4, y), (x + 0.3, y)
        for start, end, bend in joint["arrows"]:
            arrow(axes, ends[start][1], ends[end][0], bend)
        axes.set(title=title, xlim=(-0.5, 9.6), ylim=(0, 6.3))
        axes.axis("off")
    data = pd.DataFrame(JOINTS.values())[["joint", "layers that lose the channel"]]
    return Drawing(figure, "Channels that a joint ties together go together", data)


def travelling_labels() -> Drawing:
    """Four labels of a stem pass a padded shortcut and meet the eight labels of the branch in a sum."""
    figure, axes = plt.subplots(figsize=(9, 4.4))
    colours = [(colour, 0.75) for colour in PALETTE[: len(STEM)]]
    padded = ["white"] * 2 + colours + ["white"] * 2
    tied = [two if one == "·" else f"{one} = {two}" for one, two in zip(PADDED, BRANCH, strict=True)]
    layer(axes, 0, 2.2, "stem writes", colours, STEM)
    layer(axes, 2.3, 4.1, "shortcut pads\ntwo zeros a side", padded, PADDED)
    layer(axes, 4.6, 4.1, "conv 2 writes", padded, BRANCH)
    layer(axes, 6.9, 4.1, "the sum ties", padded, tied)
    layer(axes, 9.2, 4.1, "next layer reads", padded, tied)
    arrow(axes, (0.75, 1.4), (2.15, 2.2))
    arrow(axes, (0.75, 0.9), (4.5, 0.05), bend=0.25)
    arrow(axes, (5.4, 2.05), (6.75, 2.05))
    arrow(axes, (8.1, 2.05), (9.05, 2.05))
    axes.text(2.5, -0.45, "conv 1 and its own channels, then conv 2", fontsize=9, ha="center", color=DENSE)
    axes.text(4.05, 2.05, "+", fontsize=16, ha="center", va="center")
    axes.set(xlim=(-0.6, 10.5), ylim=(-0.7, 5.0))
    axes.axis("off")
    data = pd.DataFrame({"shortcut": list(PADDED), "branch": list(BRANCH), "after the sum": tied})
    says = f"Channel 1 of the stem is channel {PADDED.index('b')} behind the padded sum"
    return Drawing(figure, says, data)


def faults() -> Drawing:
    """The steps of the chain from top to bottom, with the faults of notebook 19 that sit in each beside it."""
    figure, axes = plt.subplots(figsize=(5.6, 4.2))
    for row, (step, found) in enumerate(FAULTS.items()):
        box(axes, 0, -row, step, PALETTE[0], fontsize=10, weight="bold")
        axes.text(0.8, -row, textwrap.fill(", ".join(found), 42), va="center", fontsize=9.5)
        if row:
            arrow(axes, (0, 0.7 - row), (0, 0.3 - row))
    axes.set(xlim=(-0.6, 5), ylim=(0.4 - len(FAULTS), 0.5))
    axes.axis("off")
    rows = [(step, fault) for step, found in FAULTS.items() for fault in found]
    says = f"{len(rows)} faults, at least one in every step, and none of them raises an error"
    return Drawing(figure, says, pd.DataFrame(rows, columns=["step", "fault"]))
