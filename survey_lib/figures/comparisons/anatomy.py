"""What pruning is: a tree of methods, the chain of each on a small matrix, and the story of a real layer."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from survey_lib.analysis.numbers import timing
from survey_lib.analysis.tables import matching
from survey_lib.charts.export import Drawing
from survey_lib.charts.looks import DENSE, GREY, PALETTE
from survey_lib.charts.schematic import EMPTY, box
from survey_lib.experiment.runs.checkpoint import load_trained

WEIGHT = np.array([[0.0, 0.3, 1.0], [-1.1, 2.0, -2.1], [0.5, -3.0, 0.9], [4.0, 0.1, -0.2]])
STEPS = ("weight", "score", "select", "mask", "what is left")
LAYER, TIMED = "layer2.0.conv2.weight", "resnet-20-b"  # drawn; and timed once on a quiet machine


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


def story() -> Drawing:
    """A layer of the course's network whole, masked and cut, and the time of each kind of network."""
    weight = load_trained("resnet-8-eurosat32").state_dict()[LAYER].abs().numpy()
    norms = weight.sum((1, 2, 3)), weight.sum((0, 2, 3))
    rows, columns = (np.sort(norm.argsort()[len(norm) // 2 :]) for norm in norms)
    masked = np.where(weight > np.quantile(weight, 0.8), weight, 0)
    layers = {
        "1. The network": weight,
        "2. The mask: 80 % zeros": masked,
        "3. The cut: half the filters": weight[rows][:, columns],
    }
    figure, (*pictures, clock) = plt.subplots(1, 4, figsize=(9.6, 2.7), width_ratios=(3, 3, 3, 2.4))
    for axes, (title, layer) in zip(pictures, layers.items(), strict=True):
        mosaic = layer.transpose(0, 2, 1, 3).reshape(3 * layer.shape[0], -1)  # a kernel is a tile of 3x3
        axes.imshow(mosaic, cmap="Blues", vmin=0, vmax=np.quantile(weight, 0.98))
        axes.set(title=title, xlabel=f"{layer.size:,} numbers stored", xticks=[], yticks=[])
        axes.set(xlim=(-0.5, 95.5), ylim=(95.5, -0.5))
        axes.spines[:].set_visible(False)
        axes.grid(False)
    time = pd.Series({name: 1000 * timing(TIMED, name).median_s for name in ("dense", "masked", "cut")})
    clock.bar(time.index, time, color=[GREY, PALETTE[0], PALETTE[1]], width=0.6)
    clock.bar_label(clock.containers[0], fmt="%.0f", fontsize=8)
    clock.set(title="4. The time", ylabel="ms for 16 images", ymargin=0.12)
    clock.grid(axis="x", visible=False)
    assert time["masked"] > 0.9 * time["dense"] > time["cut"]
    data = pd.DataFrame({"stored": [layer.size for layer in layers.values()], "ms": time})
    says = "Zeros take as long as other numbers; only the cut is faster"
    return Drawing(figure, says, data, {"layer": LAYER, "timed": TIMED})


def chain() -> Drawing:
    """Half of one matrix removed, once as single weights and once as whole rows."""
    figure, grid = plt.subplots(2, len(STEPS), figsize=(9, 4.6), width_ratios=(3, 3, 4, 3, 3))
    _row(grid[0], np.abs(WEIGHT))
    stored = _row(grid[1], np.abs(WEIGHT).sum(1, keepdims=True))
    for axes, step in zip(grid[0], STEPS, strict=True):
        axes.set_title(step)
    grid[0, 0].set_ylabel("magnitude\n(weights, masked)")
    grid[1, 0].set_ylabel("l1-filter\n(rows, cut out)")
    sizes = f"the masked matrix still stores {WEIGHT.size} numbers, the cut one {stored}"
    data = pd.DataFrame({"unit": ["weight", "row"], "removed": [0.5, 0.5], "stored": [WEIGHT.size, stored]})
    return Drawing(figure, f"Half removed both times: {sizes}", data)


def _row(axes: np.ndarray, score: np.ndarray) -> int:
    """Draw the five steps for one granularity; how many numbers the kept units hold."""
    keep = score > np.median(score)
    mask = np.broadcast_to(keep, WEIGHT.shape)
    _cells(axes[0], WEIGHT, np.ones_like(mask))
    _cells(axes[1], score, np.ones_like(keep))
    _ranked(axes[2], np.sort(score, axis=None))
    _cells(axes[3], mask.astype(int), mask)
    rows = mask.any(1) if score.shape != WEIGHT.shape else slice(None)
    _cells(axes[4], np.where(mask, WEIGHT, 0)[rows], mask[rows])
    return int(mask.sum())


def _cells(axes: Axes, values: np.ndarray, keep: np.ndarray) -> None:
    """A matrix as a table of numbers, removed entries on grey."""
    look = {"cmap": [EMPTY, "#CFE3F1"], "vmin": 0, "vmax": 1, "cbar": False, "linewidths": 2}
    sns.heatmap(keep, annot=values, fmt="g", annot_kws={"fontsize": 7.5}, ax=axes, **look)
    axes.set(xlim=(0, 3), ylim=(4, 0), aspect="equal", xticks=[], yticks=[])


def _ranked(axes: Axes, ordered: np.ndarray) -> None:
    """Scores in ascending order; the lower half is hatched, left of the line."""
    half, top = len(ordered) // 2, ordered.max()
    look = {"color": [GREY] * half + [PALETTE[0]] * half, "hatch": ["///"] * half + [""] * half}
    axes.bar(range(2 * half), ordered, edgecolor="white", **look)
    axes.axvline(half - 0.5, color=DENSE, linestyle="--", linewidth=1)
    axes.text(half - 0.5, top, "removed  ", ha="right", va="top", fontsize=7)
    axes.text(half - 0.5, top, "  kept", ha="left", va="top", fontsize=7)
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
