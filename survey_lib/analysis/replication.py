"""Published numbers on small networks, measured again: ours, the interval of the difference, and a verdict."""

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml
from scipy.special import stdtrit  # scipy.stats takes half a second to import

from survey_lib.analysis.literature import FOLDER, papers
from survey_lib.analysis.statistics import TooFew
from survey_lib.experiment.sweeps import store

STUDY = "replication"
MARGIN = 0.5  # points: a number that comes out within it counts as replicated
EPOCHS = {"last": "accuracy", "best": "best_test_accuracy"}


class Comparison(NamedTuple):
    """Ours minus the published value, the 95 % interval of this difference, in points, and what follows from it."""

    gap: float
    low: float
    high: float
    verdict: str


def compare(
    ours: Sequence[float], published: float, std: float = math.nan, n: float = math.nan, rounding: float = 0
) -> Comparison:
    """Whether a published number came out again.

    The interval of the difference is gap ± (t · √(s₁²/n₁ + s₂²/n₂) + rounding), with gap = mean of ours −
    published and Welch's degrees of freedom. A paper without std or n counts as exact up to `rounding`: the
    interval then covers our seeds alone and is too narrow, as the paper's seeds scatter too. Both sides are
    in points. Verdict: replicated if the interval is within ±0.5 points, not replicated if it is outside,
    undecided otherwise.

    Parameters
    ----------
    ours : Sequence[float]
        Our runs.
    published : float
        The paper's mean.
    std : float, default math.nan
        The paper's standard deviation.
    n : float, default math.nan
        The paper's number of runs.
    rounding : float, default 0
        Half a unit of the paper's last digit.

    Raises
    ------
    TooFew
        For a single run.

    Examples
    --------
    >>> compare([1.8, 2.0, 2.2], 1.9, 0.1, 20).verdict
    'undecided'
    """
    if len(ours) < 2:
        raise TooFew(f"an interval needs two runs or more; got {len(ours)}")
    samples = [(np.std(ours, ddof=1), len(ours)), (std, n)]
    parts = [(s**2 / m, m - 1) for s, m in samples if s > 0 and m > 1]
    variance = sum(part for part, _ in parts)
    degrees = variance**2 / sum(part**2 / freedom for part, freedom in parts) if parts else 1
    margin = float(stdtrit(degrees, 0.975)) * math.sqrt(variance) + rounding
    gap = float(np.mean(ours) - published)
    return Comparison(gap, gap - margin, gap + margin, _verdict(gap - margin, gap + margin))


def _verdict(low: float, high: float) -> str:
    if -MARGIN <= low and high <= MARGIN:
        return "replicated"
    return "not replicated" if low > MARGIN or high < -MARGIN else "undecided"


def replications(runs: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row a target of data/literature/replicated.yaml that has runs, by its id; errors in percent, gaps in points.

    published, std, published_n   test error as printed (100 − accuracy where the paper has that), spread,
    runs epoch, last, best             which epoch is compared, and our mean error at the last and at the best
    epoch ours, ours_std, n             mean, standard deviation and seeds at the epoch that is compared gap,
    low, high, verdict       see `compare`

    runs: rows of the study, by default the published ones.

    Raises
    ------
    ValueError
        Where a target has two runs of a seed.
    """
    runs = store.results(STUDY, local=False) if runs is None else runs
    runs = runs[runs["status"] == "done"]
    runs = runs.assign(method=runs["method"].str.partition(" (")[0])  # without what `distinct` added
    table = pd.read_csv(FOLDER / "replication_targets.csv", index_col="id", dtype={"value": str})
    found = {}
    for name, entry in yaml.safe_load((FOLDER / "replicated.yaml").read_text(encoding="utf-8")).items():
        mine = runs[(runs[list(entry["runs"])] == pd.Series(entry["runs"])).all(axis=1)]
        if mine["seed"].duplicated().any():
            raise ValueError(f"{name} in replicated.yaml must leave one run a seed; leaves {len(mine)}")
        if len(mine) > 1:
            found[name] = _row(table.loc[name], entry, mine)
    return pd.DataFrame.from_dict(found, orient="index")


def _row(target: pd.Series, entry: dict, runs: pd.DataFrame) -> dict:
    value, decimals = float(target["value"]), len(target["value"].partition(".")[2])
    n = pd.to_numeric(target["n"], errors="coerce")
    published = round(100 - value, decimals) if "accuracy" in target["value_kind"] else value
    errors = {epoch: 100 * (1 - runs[column]) for epoch, column in EPOCHS.items()}
    ours, paper = errors[entry["epoch"]], papers().loc[target["paper_key"]]
    return {
        "source": f"{paper['first_author'].split()[-1]} {paper['year']}",
        "label": entry["label"],
        "network": target["network"].partition(" ")[0].removesuffix("-Caffe"),
        "published": published,
        "std": target["std"],
        "published_n": n,
        "epoch": entry["epoch"],
        "last": errors["last"].mean(),
        "best": errors["best"].mean(),
        "ours": ours.mean(),
        "ours_std": ours.std(),
        "n": len(ours),
        **compare(ours.tolist(), published, target["std"], n, 0.5 * 10.0**-decimals)._asdict(),
        "paper_key": target["paper_key"],
        "row": entry.get("row", math.nan),
    }


def measured_again(rows: pd.DataFrame) -> list[str]:
    """For each row of `literature.published()` what we measured of it, its accuracy and the verdict; else a blank."""
    columns = ["dataset", "model", "paper_key", "sparsity_pct"]
    return [_said().get(key, "") for key in rows[columns].itertuples(index=False, name=None)]


@cache
def _said() -> dict[tuple, str]:
    return {
        ("MNIST", one.network, one.paper_key, one.row): f"{100 - one.ours:.2f} ± {one.ours_std:.2f} %, "
        f"n = {one.n} ({one.epoch} epoch): {one.verdict}"
        for one in replications().dropna(subset="row").itertuples()
    }
