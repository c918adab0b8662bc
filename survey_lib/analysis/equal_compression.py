"""Methods compared where they are comparable: at equal compression, seed by seed, and on the Pareto front."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from survey_lib.analysis.statistics import interval

POINTS = 50  # of the grid on which two curves are subtracted


def on_front(points: pd.DataFrame, x: str = "compression", y: str = "accuracy") -> pd.Series:
    """Whether no other point is at least as good in both x and y and better in one.

    >>> on_front(pd.DataFrame({"compression": [2, 4, 4], "accuracy": [0.9, 0.8, 0.7]})).tolist()
    [True, True, False]
    """
    values = points[[x, y]].to_numpy()
    as_good = (values[None] >= values[:, None]).all(2)
    better = (values[None] > values[:, None]).any(2)
    return pd.Series(~(as_good & better).any(1), index=points.index)


def mean_gap(frame: pd.DataFrame, method: str, reference: str, x: str = "compression") -> pd.Series:
    """Accuracy of method minus reference for each seed, averaged over the x that both curves cover.

        1/|X| · ∫_X (a_method − a_reference) dx,  x = log compression, or sparsity as it is

    Both curves are interpolated between their runs. Empty if their ranges do not overlap.
    """
    gaps = {}
    for seed, runs in frame.groupby("seed"):
        first, second = (_curve(runs[runs["method"] == name], x) for name in (method, reference))
        if not (len(first) and len(second)):
            continue
        low, high = max(first.index[0], second.index[0]), min(first.index[-1], second.index[-1])
        if low <= high:
            grid = np.linspace(low, high, POINTS)
            gaps[seed] = np.mean(np.interp(grid, first.index, first) - np.interp(grid, second.index, second))
    return pd.Series(gaps, dtype=float)


def against(frame: pd.DataFrame, reference: Callable[[str], str], confidence: float = 0.95) -> pd.DataFrame:
    """Every method's mean gap to a reference chosen by its structure, with Student's interval over seeds.

    The seed is the unit: points of one seed share a dense network, so counting them would narrow the interval.
    Columns: method, structure, reference, mean, low, high, n, seeds. With one seed low and high are nan.
    """
    rows = []
    for (structure, method), _ in frame.groupby(["structure", "method"]):
        gaps = mean_gap(frame, method, reference(structure))
        if method != reference(structure) and len(gaps):
            found = interval(gaps, confidence)
            rows.append((method, structure, reference(structure), found.mean, found.low, found.high, found.n, tuple(gaps)))
    names = ["method", "structure", "reference", "mean", "low", "high", "n", "seeds"]
    return pd.DataFrame(rows, columns=names).sort_values("mean", ascending=False, ignore_index=True)


def _curve(runs: pd.DataFrame, x: str) -> pd.Series:
    """Accuracy by x in ascending order; compression by its logarithm."""
    position = np.log(runs[x].to_numpy(dtype=float)) if x != "sparsity" else runs[x].to_numpy()
    return pd.Series(runs["accuracy"].to_numpy(), index=position).groupby(level=0).mean()
