"""What the course claims: comparisons between runs of published studies, corrected for how many there are."""

import json
from pathlib import Path

import pandas as pd
import yaml
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from survey_lib.analysis.statistics import compare, contrast, gaps, holm
from survey_lib.catalogue import METHODS
from survey_lib.experiment.data.sources import REPOSITORY
from survey_lib.experiment.sweeps import store
from survey_lib.experiment.sweeps.study import load

SOURCE = REPOSITORY / "data" / "claims.yaml"
FILE = REPOSITORY / "data" / "results" / "findings.json"
SEEDS = 3  # fewer carry no claim
UNITS = {"points": 100, "nats": 1}
LESS_IS_BETTER = ("loss", "ece", "divergence")
ALPHA = 0.05


@dataclass(frozen=True, config={"extra": "forbid"})
class Claim:
    """A comparison the course makes: `first` minus `second`, seed by seed, among the runs of `where`.

    Attributes
    ----------
    question : str
        What is asked, in a sentence.
    study : str
        The study whose runs are compared.
    where : str
        Pandas query on the tidy table; it leaves one data set.
    first : str
        Pandas query of the one side, of one model.
    second : str
        Query of the other side.
    metric : str
        A column, or an expression of columns.
    along : str
        Compare whole curves at equal compression, speedup_theoretical or training_macs.
    says : tuple[str, str, str]
        What the two sides are called, and where the statement holds.
    """

    study: str
    where: str
    first: str
    second: str
    says: tuple[str, str, str]
    question: str = ""
    metric: str = "accuracy"
    unit: str = "points"
    along: str = ""


def claims() -> dict[str, Claim]:
    """Every claim of data/claims.yaml by its name; ValueError names a wrong entry and its field."""
    return TypeAdapter(dict[str, Claim]).validate_python(yaml.safe_load(SOURCE.read_text(encoding="utf-8")))


def findings(declared: dict[str, Claim] | None = None) -> dict[str, dict]:
    """Every claim, computed from the published runs; Holm's correction is over all claims of the same study.

    Raises
    ------
    ValueError
        For a study that does not name its `family`, and the errors of `measured`.
    """
    declared, found = declared or claims(), {}
    for study in dict.fromkeys(claim.study for claim in declared.values()):
        said = load(study).family
        if not said:
            raise ValueError(f"study {study} has claims, so its file must say in `family` what is compared")
        runs = store.results(study, local=False, profile="full")
        family = [name for name, claim in declared.items() if claim.study == study]
        found |= {name: measured(name, declared[name], runs) for name in family}
        corrected = holm(pd.Series({name: found[name]["p"] for name in family}))
        for name in family:
            found[name]["corrected"] = float(f"{corrected[name]:.3g}")
            found[name] |= {"family": said, "family_size": len(family)}
            found[name]["verdict"] = _verdict(declared[name], found[name])
            found[name]["statement"] = _statement(declared[name], found[name])
    return {name: found[name] for name in declared}


def measured(name: str, claim: Claim, runs: pd.DataFrame) -> dict:
    """The claim's mean difference, 95 % interval and p before correction, with the runs behind it.

    Parameters
    ----------
    name : str
        Name of the claim.
    claim : Claim
        What is compared.
    runs : pd.DataFrame
        The study's table.

    Raises
    ------
    ValueError
        For a side without runs or with two of a seed, or fewer than three seeds that both sides share.
    """
    runs = runs[runs["status"] == "done"].query(claim.where)
    sides = [runs.query(query) for query in (claim.first, claim.second)]
    for query, side in zip((claim.first, claim.second), sides, strict=True):
        if not claim.along and side.groupby("seed")["accuracy"].nunique().gt(1).any():
            raise ValueError(f"claim {name}: {query!r} leaves different runs of one seed; narrow `where`")
    weighted = contrast(*sides, claim.along)
    seeds = weighted["seed"].nunique()
    if seeds < SEEDS:
        raise ValueError(f"claim {name}: {seeds} seeds have both sides, {SEEDS} are needed")
    scale = UNITS[claim.unit]
    estimate = compare(weighted, claim.metric)
    gap = {name: round(scale * getattr(estimate, name), 4) for name in ("mean", "low", "high")}
    ends = (weighted["low"].max(), weighted["high"].min()) if claim.along else ()  # of every seed's range
    return {
        "study": claim.study,
        "question": claim.question,
        "data": weighted["data"].iloc[0],
        "network": ", ".join(sorted(set(weighted["model"]))),
        "metric": claim.metric,
        "unit": claim.unit,
        "along": claim.along,
        "range": [float(f"{end:.3g}") for end in ends],
        **gap,
        "p": float(f"{estimate.p:.3g}"),
        "over": "seeds and test examples" if estimate.examples else "seeds",
        "n": estimate.n,
        "examples": estimate.examples,
        "seeds": [round(float(scale * gap), 4) for gap in gaps(weighted, claim.metric)],
        "keys": sorted(set(weighted["key"])),
        "earlier": _earlier(weighted),
    }


def _earlier(runs: pd.DataFrame) -> list[str]:
    """Methods that have been corrected since these runs were made: their version is not that of the catalogue."""
    made = zip(runs["method"], runs["version"], strict=True)
    return sorted({name for name, version in made if name in METHODS and METHODS[name].version != version})


def _verdict(claim: Claim, found: dict) -> str:
    """Whether `first` is better or worse than `second` after correction, or the two tie."""
    if not found["corrected"] < ALPHA:
        return "tie"
    return "worse" if (found["mean"] > 0) == claim.metric.endswith(LESS_IS_BETTER) else "better"


def _statement(claim: Claim, found: dict) -> str:
    """Effect first, then what is known of it: seeds, test examples, interval and corrected p."""
    first, second, where = claim.says
    ends, digits = [found["low"], found["high"]], 1 if claim.unit == "points" else 3
    if found["verdict"] != "tie" and min(map(abs, ends)) < 0.5 * 10.0**-digits:
        digits += 1  # no verdict beside an end that reads as zero
    sign = 1 if found["mean"] >= 0 else -1
    low, high = sorted(sign * end for end in ends)
    seeds = f"n = {found['n']} seeds"
    examples = "texts" if claim.unit == "nats" else "images"
    over = f"{seeds} × {found['examples']:,} {examples}" if found["examples"] else f"{seeds}, over seeds only"
    p = f"p = {found['corrected']:.2g}" if found["corrected"] >= 0.001 else "p < 0.001"
    known = f"95 % interval {low:.{digits}f} to {high:.{digits}f}, {over}, Holm-corrected {p}"
    if claim.along:
        known += f"; mean over {claim.along} {found['range'][0]:g} to {found['range'][1]:g}"
    if found["earlier"]:
        known += f"; runs of an earlier version of {', '.join(found['earlier'])}"
    effect = f"{abs(found['mean']):.{digits}f} {claim.unit} {'above' if sign > 0 else 'below'}"
    if found["verdict"] == "tie":
        return f"{first} and {second} tie {where}: the first is {effect} the second ({known})"
    return f"{first} is {effect} {second} {where} ({known})"


def write() -> Path:
    """Compute all findings and write them to data/results/findings.json."""
    FILE.write_text(json.dumps(findings(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return FILE
