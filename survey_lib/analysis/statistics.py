"""Differences and rankings of methods, with the uncertainty of seeds and of test examples."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit  # of Student; scipy.stats takes half a second to import

BLOCK = ["data", "model", "seed"]
FEWEST_BLOCKS, FEWEST_IMAGES = 10, 2500  # for a critical difference


class TooFew(ValueError):
    """Fewer seeds or blocks than a statistic needs, as with the one seed of a quick profile."""


@dataclass(frozen=True)
class Estimate:
    """A mean difference with its 95 % interval, the p of "no difference", the seeds and the test examples.

    `examples` is 0 where the interval covers the seeds only.
    """

    mean: float
    low: float
    high: float
    p: float
    n: int
    examples: int = 0

    @property
    def over(self) -> str:
        """What the interval covers."""
        return "seeds and test examples" if self.examples else "seeds"


def interval(gaps: pd.Series) -> Estimate:
    """Mean of paired differences with Student's 95 % interval over seeds, ± t · s / √n; nan for one seed.

    It says nothing of other test examples, so with few of them it is too narrow: see `crossed_interval`.

    Examples
    --------
    >>> found = interval(pd.Series([0.01, 0.02, 0.03]))
    >>> f"{found.mean:.4f} to {found.high:.4f}, n = {found.n}, over {found.over}"
    '0.0200 to 0.0448, n = 3, over seeds'
    """
    n = len(gaps)
    variance = gaps.var(ddof=1) / n if n > 1 else np.nan
    return _student(gaps.mean(), variance, n - 1, n, 0)


def crossed_interval(gaps: np.ndarray) -> Estimate:
    """The mean of paired differences (S seeds, n examples) with a 95 % interval over both.

    Seeds and examples are random and crossed, without replication: gap = mean + seed + example + rest. With
    the mean squares of the two-way analysis of variance

        Var(mean) = (MS_seeds + max(MS_examples − MS_rest, 0)) / (S · n)

    and t has Satterthwaite's degrees of freedom. Studies in which several readers judge the same cases have
    this design; Obuchowski and Rockette (1995, obuchowski1995hypothesis) analyse summaries such as the area
    under a curve. Assumes that seeds are drawn independently, and so are examples; coverage falls to about 92
    % with three seeds. Raises TooFew for one seed or one example.
    """
    seeds, n = gaps.shape
    if min(seeds, n) < 2:
        raise TooFew(f"an interval needs two seeds and two test examples; got {seeds} and {n}")
    mean, by_seed, by_example = gaps.mean(), gaps.mean(1, keepdims=True), gaps.mean(0)
    freedom = np.array([seeds - 1, n - 1, (seeds - 1) * (n - 1)])
    rest = gaps - by_seed - by_example + mean
    sums = [n * ((by_seed - mean) ** 2).sum(), seeds * ((by_example - mean) ** 2).sum(), (rest**2).sum()]
    squares = np.array(sums) / freedom
    used = squares * ([1, 1, -1] if squares[1] > squares[2] else [1, 0, 0])
    spread = (used**2 / freedom).sum()
    degrees = used.sum() ** 2 / spread if spread else seeds - 1
    return _student(mean, used.sum() / gaps.size, degrees, seeds, n)


def _student(mean: float, variance: float, degrees: float, n: int, examples: int) -> Estimate:
    error = np.sqrt(variance)
    margin = stdtrit(degrees, 0.975) * error
    with np.errstate(divide="ignore", invalid="ignore"):  # no spread: p is 0, or 1 for no difference
        p = 1.0 if mean == 0 else 2 * stdtr(degrees, -abs(np.divide(mean, error)))
    return Estimate(*map(float, (mean, mean - margin, mean + margin, p)), n, examples)


def holm(p_values: pd.Series) -> pd.Series:
    """Corrected p-values of one family of comparisons after Holm (1979, holm1979simple); nan counts as 1.

    The smallest of m is multiplied by m, the next by m − 1, and so on; none falls below the one before.

    Examples
    --------
    >>> holm(pd.Series([0.01, 0.04, 0.03])).tolist()
    [0.03, 0.06, 0.06]
    """
    ordered = p_values.fillna(1.0).sort_values(kind="stable")
    steps = np.maximum.accumulate(ordered * np.arange(len(ordered), 0, -1)).clip(upper=1.0)
    return steps.reindex(p_values.index)


@dataclass(frozen=True)
class Ranking:
    """Mean rank of each method (1 = best), blocks, Friedman's p, and Nemenyi's critical difference.

    The critical difference is nan with fewer than ten blocks, or fewer than 2,500 test images (`test_n`) in one of
    them: it would rest on too little. Records that do not say how many they had count as few.
    """

    ranks: pd.Series
    blocks: int
    p_value: float
    critical_difference: float


def ranking(frame: pd.DataFrame) -> Ranking:
    """Mean ranks by accuracy over independent blocks at equal compression (Demšar 2006).

    The critical difference is CD = q_α · √(k (k + 1) / (6 N)), k methods, N blocks, α = 0.05. A block is a
    seed of one data set and model, judged at the strongest compression that all its methods reach. Sparsities
    of one seed share a dense network, so they are not blocks. Ties share the mean of their ranks.

    Parameters
    ----------
    frame : pd.DataFrame
        Table of runs.

    Raises
    ------
    ValueError
        For fewer than three methods.
    TooFew
        For fewer than two blocks.
    """
    from scipy import stats  # only here, see above

    values = pd.DataFrame({block: at_compression(rows) for block, rows in frame.groupby(BLOCK)}).T
    ranks = values.dropna().rank(axis=1, ascending=False)
    n, methods = ranks.shape
    if methods < 3:
        raise ValueError(f"a ranking needs 3 methods; got {', '.join(ranks.columns)}")
    if n < 2:
        raise TooFew(f"a ranking needs two blocks (seed, data, model) with every method; got {n}")
    q = stats.studentized_range.ppf(0.95, methods, np.inf) / np.sqrt(2)
    enough = n >= FEWEST_BLOCKS and frame["test_n"].fillna(0).min() >= FEWEST_IMAGES
    distance = q * np.sqrt(methods * (methods + 1) / (6 * n)) if enough else np.nan
    p_value = stats.friedmanchisquare(*ranks.to_numpy().T).pvalue
    return Ranking(ranks.mean().sort_values(), n, float(p_value), float(distance))


def at_compression(
    frame: pd.DataFrame, at: float | None = None, metric: str = "accuracy", x: str = "compression"
) -> pd.Series:
    """Metric of each method at one x, interpolated between its mean points, best first.

    The interpolation is on log x. Methods whose runs are all to one side of it are left out; nothing is
    extrapolated.

    Parameters
    ----------
    frame : pd.DataFrame
        Table of runs.
    at : float, optional
        x; if not given, the strongest that every method reaches.
    metric : str, default 'accuracy'
        A column, higher is better.
    x : str, default 'compression'
        A column of ratios.

    Returns
    -------
    pd.Series
        By method; the series is named by its x.
    """
    points = frame[frame["method"] != "dense"].groupby(["method", "sparsity"])[[x, metric]].mean()
    curves = {name: rows.sort_values(x).to_numpy().T for name, rows in points.groupby(level="method")}
    at = min((places[-1] for places, _ in curves.values()), default=np.nan) if at is None else at
    values = {
        name: np.interp(np.log(at), np.log(places), y)
        for name, (places, y) in curves.items()
        if places[0] <= at <= places[-1]
    }
    return pd.Series(values, name=at, dtype=float).sort_values(ascending=False)
