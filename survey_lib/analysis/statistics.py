"""Rankings and differences of methods, with their uncertainty."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

SETTING = ["data", "model", "sparsity", "seed"]
MISSING = "method {name!r} has no runs; there are: {known}"


class TooFew(ValueError):
    """Fewer seeds or settings than a statistic needs, as with the one seed of a quick profile."""


@dataclass(frozen=True)
class Difference:
    """Mean of method minus reference over settings both were run in, with a confidence interval."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Ranking:
    """Mean rank of each method (1 = best), settings, Friedman's p, Nemenyi's critical difference."""

    ranks: pd.Series
    settings: int
    p_value: float
    critical_difference: float

    def apart(self, first: str, second: str) -> bool:
        """Whether two methods differ by more than chance explains."""
        return abs(self.ranks[first] - self.ranks[second]) > self.critical_difference


def interval(differences: pd.Series, confidence: float = 0.95) -> Difference:
    """Mean of paired differences with Student's interval; nan bounds for fewer than two, which carry none.

        mean ± t · s / √n

    >>> found = interval(pd.Series([0.01, 0.02, 0.03]))
    >>> f"{found.mean:.4f} to {found.high:.4f}, n = {found.n}"
    '0.0200 to 0.0448, n = 3'
    """
    mean, n = differences.mean(), len(differences)
    margin = stats.t.ppf((1 + confidence) / 2, n - 1) * differences.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
    return Difference(mean, mean - margin, mean + margin, n)


def by_setting(frame: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """One row a setting (data, model, sparsity, seed), one column a method; incomplete settings are dropped.

    Raises ValueError if no setting has all methods: they cannot be ranked against each other.
    """
    frame = frame[frame["method"] != "dense"]
    wide = frame.pivot_table(metric, [name for name in SETTING if name in frame], "method", "mean").dropna()
    if wide.empty:
        raise ValueError(
            "no setting has a run of every method; run `survey status STUDY` to see what is missing"
        )
    return wide


def paired_difference(
    frame: pd.DataFrame, method: str, reference: str, metric: str = "accuracy", confidence: float = 0.95
) -> Difference:
    """Mean over settings of metric(method) − metric(reference), with Student's `interval`.

    Methods share seeds, so a setting's difference is free of the seed's and the data's own level.
    Raises ValueError for an unknown method or fewer than two common settings.
    """
    for name in (method, reference):
        if name not in set(frame["method"]):
            raise ValueError(MISSING.format(name=name, known=", ".join(sorted(set(frame["method"])))))
    wide = by_setting(frame[frame["method"].isin([method, reference])], metric)
    delta = wide[method] - wide[reference]
    if len(delta) < 2:
        raise TooFew(f"{method} and {reference} share {len(delta)} setting; an interval needs two")
    return interval(delta, confidence)


def ranking(frame: pd.DataFrame, metric: str = "accuracy", alpha: float = 0.05) -> Ranking:
    """Mean ranks over settings, Friedman's test and Nemenyi's critical difference (Demšar 2006).

        CD = q_α · √(k (k + 1) / (6 N)),  k methods, N settings

    Ties share the mean of their ranks. Settings that share data or seeds are not independent: the critical
    difference is then too small, so read it as a lower bound.
    """
    ranks = by_setting(frame, metric).rank(axis=1, ascending=False)
    settings, methods = ranks.shape
    if methods < 3 or settings < 2:
        raise ValueError(f"a ranking needs 3 methods in 2 settings; got {methods} in {settings}")
    p_value = stats.friedmanchisquare(*ranks.to_numpy().T).pvalue
    q = stats.studentized_range.ppf(1 - alpha, methods, np.inf) / np.sqrt(2)
    distance = q * np.sqrt(methods * (methods + 1) / (6 * settings))
    return Ranking(ranks.mean().sort_values(), settings, float(p_value), float(distance))


def mean_ranks_by(frame: pd.DataFrame, by: str, metric: str = "accuracy") -> pd.DataFrame:
    """Mean rank of each method (rows) at each value of `by` (columns): what a bump chart draws."""
    ranks = by_setting(frame, metric).rank(axis=1, ascending=False)
    return ranks.groupby(level=by).mean().T


def rank_stability(frame: pd.DataFrame, by: str, metric: str = "accuracy") -> float:
    """Kendall's τ between the rankings at two values of `by`, averaged over pairs; 1 = one order everywhere.

    Raises ValueError if `by` has one value only.
    """
    ranks = mean_ranks_by(frame, by, metric)
    if ranks.shape[1] < 2:
        raise ValueError(f"{by} has {ranks.shape[1]} value; stability needs two")
    pairs = combinations(ranks.columns, 2)
    return float(
        np.mean([stats.kendalltau(ranks[first], ranks[second]).statistic for first, second in pairs])
    )


def area_under_curve(frame: pd.DataFrame, metric: str = "accuracy") -> pd.Series:
    """Mean accuracy of each method over the logarithm of compression, best first.

        ∫ accuracy d log c / (log c_max − log c_min)

    A method that was run over another range of compression is not comparable: cut the frame first.
    Raises ValueError for a method with a single compression.
    """
    points = frame.groupby(["method", "compression"])[metric].mean().reset_index("compression")
    areas = {
        name: _area(rows["compression"], rows[metric], name) for name, rows in points.groupby(level="method")
    }
    return pd.Series(areas, name="area").sort_values(ascending=False)


def at_compression(
    frame: pd.DataFrame, compression: float | None = None, metric: str = "accuracy"
) -> pd.Series:
    """Metric of each method at one compression, interpolated on its logarithm, best first.

    The series is named by the compression: if not given, the strongest that every method reaches.
    Methods whose runs all lie to one side of it are left out.
    """
    points = frame[frame["method"] != "dense"].groupby(["method", "sparsity"])[["compression", metric]].mean()
    curves = {
        name: rows.sort_values("compression").to_numpy().T for name, rows in points.groupby(level="method")
    }
    at = min(x[-1] for x, _ in curves.values()) if compression is None else compression
    values = {
        name: np.interp(np.log(at), np.log(x), y) for name, (x, y) in curves.items() if x[0] <= at <= x[-1]
    }
    return pd.Series(values, name=at, dtype=float).sort_values(ascending=False)


def _area(compression: pd.Series, metric: pd.Series, name: str) -> float:
    x = np.log(compression.to_numpy())
    if len(x) < 2:
        raise ValueError(f"{name} was run at one compression; a curve needs two")
    return float(np.trapezoid(metric.to_numpy(), x) / (x[-1] - x[0]))
