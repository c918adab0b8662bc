"""The one chart of differences with their intervals, lying or standing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from survey_lib.analysis.statistics import TooFew
from survey_lib.charts.looks import DENSE, GREY, PALETTE
from survey_lib.charts.plots import LABELS, note_n

SIGNIFICANT = 0.05
NO_PAIRS = "no setting has two seeds with both methods, so no interval can be drawn; run more seeds"


def intervals(
    table: pd.DataFrame,
    axes: Axes,
    at: Sequence[float] | None = None,
    *,
    unit: float = 100,
    standing: bool = False,
    label: str | None = None,
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
    standing : bool, default False
        Intervals are vertical, over `at`.
    label : str, optional
        For the legend.
    **style
        Of the marks, as matplotlib takes it.

    Raises
    ------
    TooFew
        For a table without rows.
    """
    if table.empty:
        raise TooFew(NO_PAIRS)
    at = np.arange(len(table))[::-1] if at is None else np.asarray(at, dtype=float)
    mean, low, high = (unit * table[name].to_numpy(float) for name in ("mean", "low", "high"))
    style = {"color": PALETTE[0], "marker": "o", "markersize": 5} | style
    line = "-" if standing and len(table) > 1 else ""
    x, y = (at, mean) if standing else (mean, at)
    whiskers(x, y, low, high, axes, standing=standing, linestyle=line, linewidth=1.2, label=label, **style)
    hollow = _ties(table)
    axes.plot(x[hollow], y[hollow], linestyle="", **style | {"markerfacecolor": "white"}, zorder=3)
    for place, seeds in zip(at, table["seeds"] if "seeds" in table else (), strict=False):
        axes.plot(unit * np.array(seeds), [place - 0.25] * len(seeds), ".", color=GREY, markersize=3)
    zero = axes.axhline if standing else axes.axvline
    zero(0, color=DENSE, linestyle="--", linewidth=1)


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


def spread_lines(table: pd.DataFrame, axes: Axes, styles: Mapping[str, dict]) -> None:
    """A line a method through the means of `plots.spread`, with one standard deviation as bars.

    Parameters
    ----------
    table : pd.DataFrame
        Columns method, x, mean, std, n.
    axes : Axes
        Where it is drawn.
    styles : Mapping[str, dict]
        Method -> its look; others are left out.
    """
    for name, style in styles.items():
        rows = table[table["method"] == name]
        ends = rows["mean"] - rows["std"], rows["mean"] + rows["std"]
        whiskers(rows["x"], rows["mean"], *ends, axes, label=name, **style)
    note_n(axes, table["n"])


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


def gain_lines(table: pd.DataFrame, axes: Axes, styles: Mapping[str, dict]) -> None:
    """`intervals` over sparsity, joined by a line a method.

    Parameters
    ----------
    table : pd.DataFrame
        method, sparsity, mean, low, high in points, n.
    axes : Axes
        Where to draw.
    styles : Mapping[str, dict]
        Method -> how its line is drawn.
    """
    if table.empty:
        raise TooFew(NO_PAIRS)
    for number, (name, rows) in enumerate(table.groupby("method")):
        beside = rows["sparsity"] + 0.007 * (number - 1)  # so that they do not hide each other
        intervals(rows, axes, beside, unit=1, standing=True, label=name, **styles[name])
    axes.set(xlabel=LABELS["sparsity"], ymargin=0.12)
    note_n(axes, table["n"])
