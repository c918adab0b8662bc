"""The one chart of differences with their intervals."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

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
    """Draw `mean` with its symmetric interval, which ends at `high`, of each row, times `unit`, and a line at zero.

    A mark is hollow where the row's `corrected` p (or `verdict`) says that the difference is a tie; the grey
    dots beside it are the row's `seeds`. Both columns may be missing. Rows are drawn from top to bottom, or
    at `at`.

    Parameters
    ----------
    table : pd.DataFrame
        mean, high, and perhaps corrected, verdict, seeds.
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
    mean, high = (unit * table[name].to_numpy(float) for name in ("mean", "high"))
    reach = np.nan_to_num(high - mean)  # a published number has no interval
    style = {"color": PALETTE[0], "marker": "o", "markersize": 5, "linestyle": ""} | style
    axes.errorbar(mean, at, xerr=reach, capsize=2, linewidth=1.2, **style)
    hollow = _ties(table)
    axes.plot(mean[hollow], at[hollow], **style | {"markerfacecolor": "white", "label": None}, zorder=3)
    for place, seeds in zip(at, table["seeds"] if "seeds" in table else (), strict=False):
        axes.plot(unit * np.array(seeds), [place - 0.25] * len(seeds), ".", color=GREY, markersize=3)
    axes.axvline(0, color=DENSE, linestyle="--", linewidth=1)


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
    p = table["corrected"] if "corrected" in table else pd.Series(0.0, table.index)
    return (p.astype(float) >= SIGNIFICANT).to_numpy()
