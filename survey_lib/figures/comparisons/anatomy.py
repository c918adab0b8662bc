"""The chain of every method, drawn on one small matrix: weight, score, select, mask, and what is left."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from survey_lib.charts.export import Drawing
from survey_lib.charts.plots import DENSE, GREY, PALETTE, headline
from survey_lib.charts.schematic import EMPTY

WEIGHT = np.array([[0.0, 0.3, 1.0], [-1.1, 2.0, -2.1], [0.5, -3.0, 0.9], [4.0, 0.1, -0.2]])
STEPS = ("weight", "score", "select", "mask", "what is left")


def chain() -> Drawing:
    """Half of one matrix removed, once as single weights and once as whole rows."""
    weights, rows = np.abs(WEIGHT), np.abs(WEIGHT).sum(1, keepdims=True)
    figure, grid = plt.subplots(2, len(STEPS), figsize=(9, 4.6), width_ratios=(3, 3, 4, 3, 3))
    kept = [_row(axes, score) for axes, score in zip(grid, (weights, rows), strict=True)]
    for axes, step in zip(grid[0], STEPS, strict=True):
        axes.set_title(step)
    grid[0, 0].set_ylabel("magnitude\n(weights, masked)")
    grid[1, 0].set_ylabel("l1-filter\n(rows, cut out)")
    text = f"Half removed both times: the masked matrix still stores {WEIGHT.size} numbers, the cut one {kept[1]}"
    headline(figure, text)
    caption = (
        "The chain of every method: a score for each unit, the lowest half selected, a mask. Single weights "
        f"stay in memory as zeros; rows can be cut out. {text}."
    )
    data = pd.DataFrame({"unit": ["weight", "row"], "removed": [0.5, 0.5], "stored": [WEIGHT.size, kept[1]]})
    return Drawing(figure, caption, f"Two rows of five small matrices. {caption}", data)


def _row(axes: np.ndarray, score: np.ndarray) -> int:
    """Draw the five steps for one granularity; how many numbers the kept units hold."""
    order = np.argsort(score, axis=None, kind="stable")
    keep = np.ones(score.size, dtype=bool)
    keep[order[: score.size // 2]] = False
    keep = keep.reshape(score.shape)
    mask = np.broadcast_to(keep, WEIGHT.shape)
    cells(axes[0], WEIGHT, np.ones_like(mask))
    cells(axes[1], score, np.ones_like(keep))
    ranked(axes[2], score.flat[order], score.size // 2)
    cells(axes[3], mask.astype(int), mask)
    if score.shape == WEIGHT.shape:
        cells(axes[4], np.where(mask, WEIGHT, 0), mask)
    else:
        cells(axes[4], WEIGHT[keep[:, 0]], np.ones((int(keep.sum()), WEIGHT.shape[1]), dtype=bool))
    return int(mask.sum())


def cells(axes: Axes, values: np.ndarray, keep: np.ndarray) -> None:
    """A matrix as a table of numbers, removed entries on grey."""
    rows, columns = values.shape
    for (row, column), value in np.ndenumerate(values):
        colour = "#CFE3F1" if keep[row, column] else EMPTY
        axes.add_patch(plt.Rectangle((column, row), 0.94, 0.94, facecolor=colour))
        axes.text(column + 0.47, row + 0.47, f"{value:g}", ha="center", va="center", fontsize=7.5,
                  color=DENSE if keep[row, column] else GREY)  # fmt: skip
    axes.set(xlim=(0, 3), ylim=(4, 0), aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.grid(False)


def ranked(axes: Axes, ordered: np.ndarray, removed: int) -> None:
    """Scores in ascending order; the removed ones hatched left of the line."""
    for start, stop, colour, hatch in ((0, removed, GREY, "///"), (removed, len(ordered), PALETTE[0], "")):
        axes.bar(range(start, stop), ordered[start:stop], color=colour, hatch=hatch, edgecolor="white")
    axes.axvline(removed - 0.5, color=DENSE, linestyle="--", linewidth=1)
    axes.text(removed - 0.5, ordered.max(), "removed  ", ha="right", va="top", fontsize=7)
    axes.text(removed - 0.5, ordered.max(), "  kept", ha="left", va="top", fontsize=7)
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
