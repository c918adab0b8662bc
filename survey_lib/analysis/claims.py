"""What the course claims: differences between runs of published studies, computed with interval and run keys."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from survey_lib.analysis.equal_compression import mean_gap
from survey_lib.analysis.statistics import interval
from survey_lib.experiment.data.sources import REPOSITORY
from survey_lib.experiment.sweeps import store

SOURCE = REPOSITORY / "data" / "claims.yaml"
FILE = REPOSITORY / "data" / "results" / "findings.json"
SEEDS = 3  # fewer carry no claim
UNITS = {"points": 100, "nats": 1}


@dataclass(frozen=True)
class Claim:
    """A difference the course speaks of: `first` minus `second`, seed by seed, among the runs of `where`.

    where, first, second   pandas queries on the study's tidy table
    metric                 a column, or an expression of columns
    along                  compare whole curves at equal compression or speedup_theoretical, not single points
    says                   what the two sides are called, and how the sentence ends
    """

    study: str
    where: str
    first: str
    second: str
    says: tuple[str, str, str]
    metric: str = "accuracy"
    unit: str = "points"
    along: str = ""


def claims() -> dict[str, Claim]:
    """Every claim of data/claims.yaml by its name."""
    found = yaml.safe_load(SOURCE.read_text(encoding="utf-8"))
    return {name: Claim(**fields | {"says": tuple(fields["says"])}) for name, fields in found.items()}


def finding(name: str, claim: Claim) -> dict:
    """The claim's statement, mean difference, Student's 95 % interval over seeds, n and the runs behind it.

    Raises ValueError for a side without runs, or fewer than three seeds that both sides share.
    """
    runs = store.results(claim.study, local=False)
    runs = runs[(runs["status"] == "done") & (runs["profile"] == "full")].query(claim.where)
    sides = [runs.query(query) for query in (claim.first, claim.second)]
    gaps = _along(claim, sides) if claim.along else _paired(claim, sides)
    if len(gaps) < SEEDS:
        raise ValueError(f"claim {name}: {len(gaps)} seeds have both sides, {SEEDS} are needed; sides hold "
                         f"{[len(side) for side in sides]} runs of study {claim.study}")  # fmt: skip
    gaps = gaps * UNITS[claim.unit]
    found = interval(gaps)
    mean, low, high = (round(float(value), 4) for value in (found.mean, found.low, found.high))
    return {
        "study": claim.study, "metric": claim.metric, "unit": claim.unit, "along": claim.along,
        "mean": mean, "low": low, "high": high, "n": len(gaps), "seeds": [round(float(gap), 4) for gap in gaps],
        "statement": _statement(claim, mean, low, high, len(gaps)),
        "keys": sorted({key for side in sides for key in side["key"]}),
    }  # fmt: skip


def _paired(claim: Claim, sides: list[pd.DataFrame]) -> pd.Series:
    first, second = (side.assign(value=side.eval(claim.metric)).groupby("seed")["value"].mean() for side in sides)
    return (first - second).dropna()


def _along(claim: Claim, sides: list[pd.DataFrame]) -> pd.Series:
    named = pd.concat([side.assign(method=label) for side, label in zip(sides, ("first", "second"), strict=True)])
    return mean_gap(named.assign(accuracy=named.eval(claim.metric)), "first", "second", claim.along)


def _statement(claim: Claim, mean: float, low: float, high: float, n: int) -> str:
    subject, other, end = claim.says
    verb = "is above" if low > 0 else "is below" if high < 0 else "is not told from"
    digits = 1 if claim.unit == "points" else 3
    numbers = f"{mean:+.{digits}f} {claim.unit} (95 % interval {low:+.{digits}f} to {high:+.{digits}f}, n = {n})"
    return f"{subject} {verb} {other} {end}: {numbers}"


def findings() -> dict[str, dict]:
    """Every claim, computed from the published runs."""
    return {name: finding(name, claim) for name, claim in claims().items()}


def write() -> Path:
    """Compute all findings and write them to data/results/findings.json."""
    FILE.write_text(json.dumps(findings(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return FILE


def stated(name: str) -> str:
    """The sentence of one finding, as stored; ValueError that lists the names for an unknown one.

    >>> stated("random-against-l1").startswith("random-filter is")
    True
    """
    found = json.loads(FILE.read_text(encoding="utf-8"))
    if name not in found:
        raise ValueError(f"no finding {name!r}; there are: {', '.join(found)}")
    return found[name]["statement"]
