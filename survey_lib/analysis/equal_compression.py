"""Methods compared at equal size, MACs or budget, seed by seed, and against the dense twin."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pandas as pd

from survey_lib.analysis.statistics import Estimate, crossed_interval, holm, interval
from survey_lib.experiment.records import unpack
from survey_lib.experiment.sweeps import store

POINTS = 50  # of the grid on which two curves are subtracted
TWIN = ["data", "model", "seed", "epochs", "lr", "recovery", "recovery_epochs", "recovery_lr", "rewind_epoch"]


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


def against(frame: pd.DataFrame, reference: Callable[[str], str]) -> pd.DataFrame:
    """Every method's mean gap to a reference chosen by its structure, at equal size.

    The seed is the unit: points of one seed share a dense network, so counting them would narrow the
    interval. With one seed low, high and p are nan.

    Parameters
    ----------
    frame : pd.DataFrame
        Runs of a study.
    reference : Callable[[str], str]
        Structure -> name of the method that is the reference.

    Returns
    -------
    pd.DataFrame
        One row a method: method, structure, reference, mean, low, high, p, n, examples, seeds, and
        corrected (p, by Holm over this table).
    """
    rows = []
    for (structure, method), mine in frame.groupby(["structure", "method"]):
        weighted = contrast(mine, frame[frame["method"] == reference(structure)], "compression")
        if method != reference(structure) and len(weighted):
            rows.append(
                {"method": method, "structure": structure, "reference": reference(structure)}
                | vars(compare(weighted))
                | {"seeds": tuple(gaps(weighted))}
            )
    names = ["method", "structure", "reference", "mean", "low", "high", "p", "n", "examples", "seeds"]
    table = pd.DataFrame(rows, columns=names).sort_values("mean", ascending=False, ignore_index=True)
    return table.assign(corrected=holm(table["p"]))


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
    found = pruned.merge(twins, "left", TWIN)
    for row in found[found["twins"] != 1].itertuples():
        asked = ", ".join(f"{name} {getattr(row, name)}" for name in TWIN)
        raise ValueError(
            f"{row.method}, run {row.key}: one dense twin is needed ({asked}); found "
            f"{np.nan_to_num(row.twins):.0f}. Add it to the study: method dense, recovery {row.recovery}"
        )
    return found.drop(columns="twins").assign(gain=found["accuracy"] - found["twin"])
