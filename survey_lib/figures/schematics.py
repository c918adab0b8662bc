"""Figures drawn from the catalogue of methods or from a rule, without results."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from survey_lib.analysis.tables import matching
from survey_lib.catalogue import METHODS
from survey_lib.charts import schematic
from survey_lib.charts.export import Drawing
from survey_lib.charts.plots import headline


def taxonomy() -> Drawing:
    """The catalogue as a tree: structure, category, methods."""
    branches: dict[str, dict[str, list[str]]] = {}
    for method in METHODS.values():
        branches.setdefault(method.structure, {}).setdefault(method.category, []).append(method.name)
    twigs = sum(map(len, branches.values()))
    figure, axes = plt.subplots(figsize=(9, 0.55 * twigs + 0.8))
    schematic.tree(branches, axes)
    count = len(matching())
    headline(figure, f"{count} methods in {twigs} categories")
    caption = f"The {count} methods of the catalogue by structure and category of the unit that is removed."
    alt = "; ".join(
        f"{branch}: {', '.join(f'{twig} ({len(names)})' for twig, names in inner.items())}"
        for branch, inner in branches.items()
    )
    return Drawing(figure, caption, f"Tree. {alt}.", matching()[["method", "category", "when"]])


def patterns() -> Drawing:
    """One matrix at half density, pruned by magnitude at five granularities."""
    weight = np.abs(np.random.default_rng(0).normal(size=(8, 16)))
    masks = {
        "weight": _largest(weight, (1, 1)),
        "2:4": _two_of_four(weight),
        "vector": _largest(weight, (1, 4)),
        "block": _largest(weight, (2, 4)),
        "filter": _largest(weight, (1, 16)),
    }
    kept = {name: weight[mask].sum() / weight.sum() for name, mask in masks.items()}
    figure, grid = plt.subplots(1, len(masks), figsize=(10, 1.9))
    for axes, (name, mask) in zip(grid, masks.items(), strict=True):
        schematic.mask_pattern(mask, axes, f"{name}: {kept[name]:.0%}")
    headline(figure, "The coarser the unit, the less magnitude is kept at the same density")
    caption = "One 8×16 matrix, half kept by magnitude at five granularities; titles: magnitude kept."
    alt = (
        "Five grids. Magnitude kept: "
        + ", ".join(f"{name} {share:.0%}" for name, share in kept.items())
        + "."
    )
    return Drawing(
        figure, caption, alt, pd.DataFrame({"granularity": list(kept), "magnitude_kept": list(kept.values())})
    )


def _largest(weight: np.ndarray, block: tuple[int, int]) -> np.ndarray:
    """Keep the half of the blocks whose magnitudes sum highest."""
    rows, columns = (size // part for size, part in zip(weight.shape, block, strict=True))
    sums = weight.reshape(rows, block[0], columns, block[1]).sum((1, 3))
    keep = np.zeros(sums.size, dtype=bool)
    keep[np.argsort(-sums, axis=None, kind="stable")[: sums.size // 2]] = True
    return np.kron(keep.reshape(sums.shape), np.ones(block, dtype=bool))


def _two_of_four(weight: np.ndarray) -> np.ndarray:
    groups = weight.reshape(-1, 4)
    order = np.argsort(np.argsort(-groups, axis=1, kind="stable"), axis=1)
    return (order < 2).reshape(weight.shape)


def coupled_channels() -> Drawing:
    """The same channel through a sum, a concatenation, a depthwise convolution and a padded shortcut."""
    figure, grid = plt.subplots(2, 2, figsize=(7.6, 5.4))
    for axes, draw in zip(grid.flat, (_sum, _concat, _depthwise, _padded), strict=True):
        draw(axes)
        schematic.canvas(axes, 4.7, 2.9)
    headline(figure, "Channels that a joint ties together go together")
    caption = (
        "One channel removed (crossed). A sum ties the channels of both its inputs and all layers on the "
        "trunk; a concatenation shifts the channel in what follows; a depthwise convolution has one filter a "
        "channel, which goes with it."
    )
    rows = [
        ("sum", "stem, conv, next"),
        ("concat", "b, and next three positions further"),
        ("depthwise", "expand, depthwise, project"),
        ("padded shortcut", "stage 1, conv and next two positions further"),
    ]
    return Drawing(
        figure, caption, caption, pd.DataFrame(rows, columns=["joint", "layers that lose the channel"])
    )


def _sum(axes: plt.Axes) -> None:
    schematic.layer(axes, 0, 2, "stem", 4, gone=[1])
    schematic.layer(axes, 1.6, 2.3, "conv", 4, gone=[1])
    schematic.operator(axes, 3, 1.55, "+")
    schematic.layer(axes, 3.9, 2, "next", 4, gone=[1])
    schematic.arrow(axes, (0.55, 1.7), (1.55, 1.8))
    schematic.arrow(axes, (2.15, 1.8), (2.85, 1.6))
    schematic.arrow(axes, (0.55, 1.3), (2.95, 1.4), bend=0.35)
    schematic.arrow(axes, (3.15, 1.55), (3.85, 1.55))
    axes.set_title("sum: one channel, both inputs", fontsize=9)


def _concat(axes: plt.Axes) -> None:
    schematic.layer(axes, 0, 2.6, "a", 3)
    schematic.layer(axes, 0, 1.3, "b", 3, gone=[1])
    schematic.operator(axes, 1.7, 1.5, "‖")
    schematic.layer(axes, 2.9, 2.2, "next", 6, gone=[4])
    schematic.arrow(axes, (0.55, 2.2), (1.55, 1.6))
    schematic.arrow(axes, (0.55, 1.0), (1.55, 1.4))
    schematic.arrow(axes, (1.85, 1.5), (2.85, 1.5))
    axes.set_title("concatenation: b's 1 is next's 4", fontsize=9)


def _depthwise(axes: plt.Axes) -> None:
    for x, name in ((0, "expand"), (1.5, "depthwise"), (3, "project")):
        schematic.layer(axes, x, 2.2, name, 5, gone=[2])
    schematic.arrow(axes, (0.55, 1.65), (1.45, 1.65))
    schematic.arrow(axes, (2.05, 1.65), (2.95, 1.65))
    axes.set_title("depthwise: the filter goes too", fontsize=9)


def _padded(axes: plt.Axes) -> None:
    schematic.layer(axes, 0, 2.1, "stage 1", 4, gone=[1])
    schematic.layer(axes, 1.6, 2.5, "conv", 8, gone=[3])
    schematic.operator(axes, 3, 1.4, "+")
    schematic.layer(axes, 3.9, 2.3, "next", 8, gone=[3])
    schematic.arrow(axes, (0.55, 1.75), (1.55, 1.75))
    schematic.arrow(axes, (2.15, 1.6), (2.85, 1.45))
    schematic.arrow(axes, (0.55, 1.3), (2.9, 1.25), bend=0.55)
    schematic.arrow(axes, (3.15, 1.4), (3.85, 1.4))
    axes.text(1.75, 0.12, "2 zero channels on each side", fontsize=7, ha="center")
    axes.set_title("padded shortcut: 1 becomes 3", fontsize=9)
