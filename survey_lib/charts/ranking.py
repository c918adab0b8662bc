"""Drawings of rankings: the critical-difference diagram and the bump chart. No torch."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from survey_lib.analysis.statistics import TooFew
from survey_lib.charts.plots import DENSE, GREY, LABELS, PALETTE, looks


def mean_ranks(ranks: pd.Series, axes: Axes) -> pd.Series:
    """Methods on a line of mean ranks, each with its name; the ranks in their order."""
    ordered = ranks.sort_values()
    height = len(ordered)
    for level, (name, rank) in enumerate(ordered.items()):
        y = height - level
        axes.plot([rank, rank], [0, y], color=GREY, linewidth=0.8)
        axes.plot(rank, 0, "o", color=DENSE, markersize=3)
        axes.annotate(f" {name} ({rank:.2f})", (rank, y), va="center", fontsize=8)
    axes.set(xlabel="mean rank (1 is best)", yticks=[], ylim=(None, height + 2.8))
    axes.spines["left"].set_visible(False)
    axes.grid(False)
    return ordered


def critical_difference(ranks: pd.Series, distance: float, axes: Axes) -> None:
    """Demšar's diagram: `mean_ranks` with a bar that joins methods whose order may be due to chance.

    Raises TooFew where `ranking` had too few blocks for a critical difference, which is then nan.
    """
    if np.isnan(distance):
        raise TooFew(
            "a critical difference needs ten independent blocks (seed, data, model); draw mean_ranks instead"
        )
    ordered = mean_ranks(ranks, axes)
    height = len(ordered)
    for level, (first, last) in enumerate(cliques(ordered.to_numpy(), distance)):
        axes.plot(
            [first - 0.05, last + 0.05],
            [-0.5 - 0.5 * level] * 2,
            color=PALETTE[1],
            linewidth=3,
            solid_capstyle="butt",
        )
    axes.plot([ordered.min(), ordered.min() + distance], [height + 1.2] * 2, color=DENSE, linewidth=1.5)
    axes.text(ordered.min(), height + 1.5, f"critical difference {distance:.2f}", fontsize=8, va="bottom")


def cliques(ranks: np.ndarray, distance: float) -> list[tuple[float, float]]:
    """Longest runs of sorted ranks that span no more than the distance, without runs inside others."""
    runs = []
    for start, low in enumerate(ranks):
        end = int(np.searchsorted(ranks, low + distance, side="right")) - 1
        if end > start and (not runs or end > runs[-1][1]):
            runs.append((start, end))
    return [(ranks[start], ranks[end]) for start, end in runs]


def bump(ranks: pd.DataFrame, axes: Axes) -> None:
    """Mean rank of each method (rows) along the columns, best on top; crossing lines: the order turned."""
    positions = np.arange(ranks.shape[1])
    heights = spaced(ranks.iloc[:, -1], 0.045 * float(ranks.to_numpy().max() - ranks.to_numpy().min()))
    for name, style in looks(list(ranks.index)).items():
        axes.plot(positions, ranks.loc[name], **style)
        end = (positions[-1], heights[name])
        beside = {
            "xytext": (6, 0),
            "textcoords": "offset points",
            "va": "center",
            "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        }
        axes.annotate(name, end, fontsize=7, color=style["color"], **beside)
    axes.invert_yaxis()
    axes.set_xticks(
        positions, [f"{value:g}" if isinstance(value, float) else str(value) for value in ranks.columns]
    )
    axes.set(xlabel=LABELS.get(ranks.columns.name, ranks.columns.name), ylabel="mean rank (1 is best)")
    axes.set_xlim(None, positions[-1] * 1.35 + 0.3)


def spaced(values: pd.Series, gap: float) -> pd.Series:
    """Values moved up as little as needed to lie `gap` apart, in their order: places for labels.

    >>> spaced(pd.Series({"a": 1.0, "b": 1.0, "c": 5.0}), 0.5).tolist()
    [1.0, 1.5, 5.0]
    """
    ordered = values.sort_values(kind="stable")
    steps = gap * np.arange(len(ordered))
    return pd.Series(np.maximum.accumulate(ordered - steps) + steps, ordered.index).loc[values.index]
