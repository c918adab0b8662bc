"""The one chart of differences with their intervals."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from survey_lib.analysis.statistics import TooFew
from survey_lib.charts.looks import DENSE, GREY, PALETTE

SIGNIFICANT = 0.05
NO_PAIRS = "no setting has two seeds with both methods, so no interval can be drawn; run more seeds"


def intervals(
    table: pd.DataFrame,
    axes: Axes,
    at: Sequence[float] | None = None,
    *,
    unit: float = 100,
    **style,
) -> None:
    """Draw `mean` with the interval `low` to `high` of each row, times `unit`, and a line at zero.

    A mark is hollow where the row's `corrected` p (or `verdict`) says that the difference is a tie; the grey
    dots beside it are the row's `seeds`. Both columns may be missing. Rows are drawn from top to bottom, or
    at `at`.

    Parameters
    ----------
    table : pd.DataFrame
        mean, low, high, and perhaps corrected, verdict, seeds.
    axes : Axes
        Where to draw.
    at : Sequence[float], optional
        Where each row is drawn.
    unit : float, default 100
        Factor on all numbers.
    **style
        Of the marks and for the legend, as matplotlib takes it.

    Raises
    ------
    TooFew
        For a table without rows.
    """
    if table.empty:
        raise TooFew(NO_PAIRS)
    at = np.arange(len(table))[::-1] if at is None else np.asarray(at, dtype=float)
    mean, low, high = (unit * table[name].to_numpy(float) for name in ("mean", "low", "high"))
    style = {"color": PALETTE[0], "marker": "o", "markersize": 5, "linestyle": ""} | style
    whiskers(mean, at, low, high, axes, standing=False, linewidth=1.2, **style)
    hollow = _ties(table)
    axes.plot(mean[hollow], at[hollow], **style | {"markerfacecolor": "white", "label": None}, zorder=3)
    for place, seeds in zip(at, table["seeds"] if "seeds" in table else (), strict=False):
        axes.plot(unit * np.array(seeds), [place - 0.25] * len(seeds), ".", color=GREY, markersize=3)
    axes.axvline(0, color=DENSE, linestyle="--", linewidth=1)


def whiskers(
    x: ArrayLike, y: ArrayLike, low: ArrayLike, high: ArrayLike, axes: Axes, *, standing: bool = True, **style
) -> None:
    """Points with a bar from `low` to `high` each, none where these are nan: a published number has no interval.

    Parameters
    ----------
    x, y : ArrayLike
        The points.
    low, high : ArrayLike
        Ends of the bars.
    axes : Axes
        Where they are drawn.
    standing : bool, default True
        Bars along y; else along x.
    **style
        As of `Axes.errorbar`.
    """
    value = np.asarray(y if standing else x, dtype=float)
    reach = [np.nan_to_num(value - low), np.nan_to_num(high - value)]
    axes.errorbar(x, y, **{"yerr" if standing else "xerr": reach}, **{"capsize": 2} | style)


def names(table: pd.DataFrame, labels: Sequence[str], axes: Axes) -> None:
    """Write the labels beside rows that were drawn from top to bottom.

    Parameters
    ----------
    table : pd.DataFrame
        What was drawn.
    labels : Sequence[str]
        One label a row.
    axes : Axes
        Where to draw.
    """
    axes.set_yticks(range(len(table)), list(labels)[::-1])


def _ties(table: pd.DataFrame) -> np.ndarray:
    if "verdict" in table:
        return (table["verdict"] == "tie").to_numpy()
    if "corrected" in table:
        return (table["corrected"].astype(float) >= SIGNIFICANT).to_numpy()
    return np.zeros(len(table), bool)
