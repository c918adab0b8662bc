"""Differences between methods at equal size, MACs or budget, with the uncertainty of seeds and of test examples."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit  # of Student; scipy.stats takes half a second to import

from survey_lib.experiment.records import unpack
from survey_lib.experiment.sweeps import store

POINTS = 50  # of the grid on which two curves are subtracted
TWIN = ["data", "model", "seed", "epochs", "lr", "recovery", "recovery_epochs", "recovery_lr", "rewind_epoch"]


class TooFew(ValueError):
    """Fewer seeds than a statistic needs, as with the one seed of a quick profile."""


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


def interval(gaps: pd.Series) -> Estimate:
    """Mean of paired differences with Student's 95 % interval over seeds, ± t · s / √n; nan for one seed.

    It says nothing of other test examples, so with few of them it is too narrow: see `crossed_interval`.

    Examples
    --------
    >>> found = interval(pd.Series([0.01, 0.02, 0.03]))
    >>> f"{found.mean:.4f} to {found.high:.4f}, n = {found.n}"
    '0.0200 to 0.0448, n = 3'
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


def contrast(first: pd.DataFrame, second: pd.DataFrame, along: str = "") -> pd.DataFrame:
    """The runs of both sides with a `weight` each, for differences at equal compression.

    Weighted metrics of a seed add up to first minus second. Without `along`, a side is the mean of its runs
    of the seed. Along x, a side is its curve, interpolated between its runs and averaged over the x that both
    curves cover, `low` to `high`; x counts by its logarithm. Nothing is extrapolated:
    seeds without a common range, or with one side only, are left out.

    Parameters
    ----------
    first : pd.DataFrame
        Runs of the one side.
    second : pd.DataFrame
        Runs of the other.
    along : str, default ''
        x: compression, speedup_theoretical or training_macs.

    Raises
    ------
    ValueError
        Where the runs are of several data sets, or those of a side of several models.
    """
    both = pd.concat([first, second])
    for name, rows in (("data", both), ("model", first), ("model", second)):
        if name in rows and rows[name].nunique() > 1:
            several = ", ".join(sorted(set(rows[name])))
            raise ValueError(f"a side needs runs of one {name}, and both sides the same data; got {several}")
    parts = []
    for seed in sorted(set(first["seed"]) & set(second["seed"])):
        sides = [side[side["seed"] == seed] for side in (first, second)]
        places = [np.log(side[along].to_numpy(float)) if along else np.zeros(len(side)) for side in sides]
        low, high = max(place.min() for place in places), min(place.max() for place in places)
        if low <= high:
            grid = np.linspace(low, high, POINTS if along else 1)
            for side, place, sign in zip(sides, places, (1, -1), strict=True):
                weight = sign * _shares(place, grid)
                parts.append(side.assign(weight=weight, low=np.exp(low), high=np.exp(high)))
    none = both.iloc[:0].assign(weight=0.0, low=0.0, high=0.0)
    return pd.concat(parts, ignore_index=True) if parts else none


def _shares(places: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Share of each run in the mean of its interpolated curve over the grid; runs at equal x divide theirs."""
    points, which, count = np.unique(places, return_inverse=True, return_counts=True)
    shares = np.array([np.interp(grid, points, one).mean() for one in np.eye(len(points))])
    return shares[which] / count[which]


def gaps(weighted: pd.DataFrame, metric: str = "accuracy") -> pd.Series:
    """First minus second of each seed, from the runs of `contrast`.

    Parameters
    ----------
    weighted : pd.DataFrame
        What `contrast` returned.
    metric : str, default 'accuracy'
        A column or an expression of columns.
    """
    return (weighted.eval(metric) * weighted["weight"]).groupby(weighted["seed"]).sum()


def compare(weighted: pd.DataFrame, metric: str = "accuracy") -> Estimate:
    """The mean gap of the runs of `contrast`, with an interval over seeds and test examples.

    The interval covers seeds only where the records hold no value for each test example.

    Parameters
    ----------
    weighted : pd.DataFrame
        What `contrast` returned.
    metric : str, default 'accuracy'
        A column or an expression of columns.
    """
    by_seed = gaps(weighted, metric)
    values = by_example(weighted["study"].iloc[0], metric) if "study" in weighted and len(by_seed) > 1 else {}
    if not values or set(weighted["key"]) - values.keys():
        return interval(by_seed)
    examples = [
        sum(row.weight * values[row.key] for row in runs.itertuples()) for _, runs in weighted.groupby("seed")
    ]
    return crossed_interval(np.array(examples))


def difference(
    runs: pd.DataFrame, first: str, second: str, along: str = "", metric: str = "accuracy"
) -> Estimate:
    """The mean gap between two methods of a table of runs.

    Parameters
    ----------
    runs : pd.DataFrame
        Runs of one data set and one model.
    first, second : str
        Names of the methods; the second is subtracted.
    along : str, default ''
        As in `contrast`.
    metric : str, default 'accuracy'
        A column or an expression of columns.
    """
    sides = (runs[runs["method"] == name] for name in (first, second))
    return compare(contrast(*sides, along), metric)


@cache
def by_example(study: str, metric: str = "accuracy") -> dict[str, np.ndarray]:
    """Which test examples were right, or the loss of each text, for the published runs of a study that hold it.

    Parameters
    ----------
    study : str
        Name of the study.
    metric : str, default 'accuracy'
        Accuracy or loss (at the end of the run), or the accuracy of a stage, as pruned_accuracy; others have
        none.

    Returns
    -------
    dict[str, np.ndarray]
        Run key -> (n,) bool, or nats a token.
    """
    stage = "recovered" if metric == "accuracy" else metric.removesuffix("_accuracy")
    found = {}
    for key, record in store.published_records(study).items():
        test = record.get("metrics", {}).get(stage, {}).get("test", {})
        if "correct" in test:
            found[key] = unpack(test["correct"], test["n"])
        if metric == "loss" and record.get("losses"):
            found[key] = np.array(record["losses"])
    return found


def gain_over_twin(runs: pd.DataFrame) -> pd.DataFrame:
    """Every recovered run with the accuracy of its dense `twin` and its `gain` over it.

    The twin is the dense network of the same seed, data and model that had the same extra epochs at the same
    rate; without it, pruning would be credited with the training. Networks trained from scratch have none.

    Raises
    ------
    ValueError
        For a run without a twin, or with several; the text names the first.
    """
    dense = runs["method"] == "dense"
    pruned = runs[~dense & (runs["recovery"] != "none") & ~runs["recovery"].str.startswith("scratch")]
    twins = runs[dense].groupby(TWIN)["accuracy"].agg(twin="mean", twins="size").reset_index()
    found = pruned.merge(twins, "left", TWIN).fillna({"twins": 0})
    for row in found[found["twins"] != 1].itertuples():
        asked = ", ".join(f"{name} {getattr(row, name)}" for name in TWIN)
        what = f"{row.method}, run {row.key}: one dense twin is needed ({asked}); found {row.twins:.0f}"
        raise ValueError(f"{what}. Add it to the study: method dense, recovery {row.recovery}")
    return found.drop(columns="twins").assign(gain=found["accuracy"] - found["twin"])


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
