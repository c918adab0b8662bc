"""Drawings of filters and of what criteria do with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from survey_lib.charts.intervals import intervals
from survey_lib.charts.plots import DENSE, GREY, MARKERS, PALETTE, looks, note_n, scale


def sorted_pictures(weight: np.ndarray, scores: Mapping[str, np.ndarray], removed: int) -> Figure:
    """First-layer filters (n, 3, kh, kw) as pictures, a row a criterion, lowest score left.

    The `removed` lowest stand left of the line. All pictures share one scale, so that a weak filter looks weak.
    """
    largest = np.abs(weight).max()
    images = (weight / (2 * largest) + 0.5).transpose(0, 2, 3, 1)
    figure, grid = plt.subplots(
        len(scores), len(weight), figsize=(8, 0.62 * len(scores) + 0.7), squeeze=False
    )
    for row, (name, score) in zip(grid, scores.items(), strict=True):
        for place, (axes, index) in enumerate(zip(row, np.argsort(score, kind="stable"), strict=True)):
            axes.imshow(images[index])
            axes.set(xticks=[], yticks=[])
            axes.set_xlabel(
                str(index), fontsize=6, labelpad=1, color=PALETTE[1] if place < removed else DENSE
            )
            axes.spines[:].set(visible=place < removed, color=PALETTE[1], linewidth=2)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    return figure


def distance_matrix(weight: np.ndarray, removed: Sequence[int], axes: Axes) -> None:
    """Distances between all filters, ordered by their sum (near the geometric median first); `removed` are marked."""
    rows = weight.reshape(len(weight), -1)
    distance = np.linalg.norm(rows[:, None] - rows, axis=2)
    order = np.argsort(distance.sum(1), kind="stable")
    image = axes.imshow(distance[np.ix_(order, order)], cmap="cividis")
    axes.set_xticks(range(len(order)), order, fontsize=6)
    axes.set_yticks(range(len(order)), order, fontsize=6)
    for place, index in enumerate(order):
        for label in (axes.get_xticklabels()[place], axes.get_yticklabels()[place]):
            label.set(
                color=PALETTE[1] if index in removed else DENSE,
                weight="bold" if index in removed else "normal",
            )
    axes.set(xlabel="filter, the most replaceable first", ylabel="filter")
    axes.grid(False)
    axes.figure.colorbar(image, ax=axes, label="distance of two filters", shrink=0.85)


def forest(differences: Mapping[str, pd.DataFrame], axes: Axes) -> None:
    """Mean differences with their intervals: a row a method, a colour and marker a reference.

    `differences`: reference -> frame of `equal_compression.against` (method, mean, low, high, n; fractions).
    """
    names = list(dict.fromkeys(name for table in differences.values() for name in table["method"]))
    for number, (reference, table) in enumerate(differences.items()):
        rows = np.array([names.index(name) for name in table["method"]]) + 0.26 * number - 0.13
        intervals(table, axes, rows, label=f"minus {reference}", color=PALETTE[number], marker=MARKERS[number])
    axes.set_yticks(range(len(names)), names)
    axes.set(
        ylim=(len(names) - 0.5, -0.5), xlabel="difference of accuracy, points (95 % interval over seeds)"
    )
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    note_n(axes, pd.concat([table["n"] for table in differences.values()]))


def recovery(table: pd.DataFrame, axes: Axes) -> None:
    """Accuracy right after the cut and after recovery, joined by a line; `table`: method index; pruned, recovered."""
    for name, style in looks(list(table.index)).items():
        pair = table.loc[name, ["pruned", "recovered"]]
        axes.plot([0, 1], pair, label=name, **style)
    axes.set_xticks([0, 1], ["right after the cut", "after recovery"])
    axes.set(xlim=(-0.15, 1.15), ylabel="test accuracy")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def beside_published(ours: pd.DataFrame, claims: pd.DataFrame, axes: Axes) -> None:
    """Change of accuracy against theoretical speed-up: our means as lines, papers' own points as large marks.

    Both frames hold method, speedup_theoretical, delta (points). The networks and data differ: shapes of the
    curves can be compared, levels cannot.
    """
    for name, style in looks(sorted(set(ours["method"]))).items():
        rows = ours[ours["method"] == name].sort_values("speedup_theoretical")
        axes.plot(
            rows["speedup_theoretical"], rows["delta"], label=f"{name} (ours)", **style | {"markersize": 3}
        )
    for number, (name, rows) in enumerate(claims.groupby("method")):
        axes.plot(rows["speedup_theoretical"], rows["delta"], linestyle="", label=f"{name} (published)",
                  marker=MARKERS[number], markersize=8, markerfacecolor="none", color=DENSE)  # fmt: skip
    axes.axhline(0, color=GREY, linestyle="--", linewidth=1)
    scale(axes, "speedup_theoretical")
    axes.set_ylabel("change of accuracy, points")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
