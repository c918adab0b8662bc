"""Published files checked, and some of their runs computed again from nothing and compared."""

import json
import math
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from statistics import fmean

import pandas as pd
import torch

from survey_lib.experiment.data.loaders import available
from survey_lib.experiment.differences import NOT_COMPARED, Pair, compare
from survey_lib.experiment.records import dump
from survey_lib.experiment.runs.config import STORIES, RunConfig, identity
from survey_lib.experiment.runs.run import run
from survey_lib.experiment.sweeps import store
from survey_lib.experiment.sweeps import study as studies

STEADY = "metrics.recovered.test.accuracy"
Fault = tuple[str, str]  # key, what is wrong


def verify(
    study: str | None = None, sample: int = 5, seed: int = 0, report: Callable[[str], None] = print
) -> pd.DataFrame:
    """Check the published files of one study or all, and compute some of their runs again.

    It cannot notice times made up, nor values that another processor could have found.

    Parameters
    ----------
    study : str, optional
        Name; all if left out.
    sample : int, default 5
        Runs to compute again.
    seed : int, default 0
        Seed of what is drawn at random.
    report : Callable[[str], None], default print
        Is told what was left out and why, and what was compared.

    Returns
    -------
    pd.DataFrame
        One row for each value that was compared (`differences.compare` says which, and what is allowed)
        and for each fault of a file (`faults`), which never agrees.

    Raises
    ------
    ValueError
        For a sample below one, and when nothing that can be computed here is published.
    """
    if sample < 1:
        raise ValueError(f"sample must be at least one run, got {sample}")
    names = [study] if study else [name for name in studies.names() if store.published_file(name).exists()]
    absent = {*studies.names()} - {*names}
    if absent and not study:
        report(f"not published: {', '.join(sorted(absent))}")
    published = [(name, record) for name in names for record in store.published_lines(name)]
    rows = [
        (name, key, Pair(fault, "", "a fault", 0.0))
        for name in names
        for key, fault in faults(name, [record for one, record in published if one == name])
    ]
    report(
        f"{len(published)} published runs of {', '.join(names)}: {len(rows)} faults of counts and versions"
    )
    why = [_left_out(record) for _, record in published]
    for reason, count in Counter(filter(None, why)).items():
        report(f"{count} of {len(published)} runs left out: {reason}")
    here = [pair for pair, reason in zip(published, why, strict=True) if not reason]
    if not (here or rows):
        where = store.published_file(study) if study else store.published_file("*").parent
        raise ValueError(
            f"{where} holds no run that can be computed here; `survey publish STUDY` writes it, "
            "`survey doctor` shows which data are missing"
        )
    drawn = random.Random(seed).sample(here, min(sample, len(here)))
    with tempfile.TemporaryDirectory() as cache:
        for number, (name, old) in enumerate(drawn, 1):
            report(f"{number} of {len(drawn)}: {name}, {store.title(old['config'])}")
            pairs = _again(old, Path(cache), studies.load(name).tolerance)
            report(f"  {_kinds(pairs)}")
            rows += [(name, old["key"], pair) for pair in pairs]
    steady = [pair for _, _, pair in rows if pair.path == STEADY and pair.allowed < 1]
    rows += [(study or "all", "", _mean(steady))] if len(steady) > 1 else []
    table = [(name, key, *astuple(pair), pair.agrees) for name, key, pair in rows]
    return pd.DataFrame(table, columns=["study", "key", "metric", "published", "now", "allowed", "agrees"])


def faults(study: str, records: list[dict]) -> list[Fault]:
    """Key and fault of each published line that `survey publish` cannot have written.

    Its bytes must be as `store.publish` writes them. The runs must be those that the study's profiles ask for,
    once each, finished, and of the present versions of their methods. (Keys, fields and possible values are
    checked when records are read.) Methods with a newer version are named once each.

    Parameters
    ----------
    study : str
        Name of the study.
    records : list[dict]
        Its published lines.
    """
    configs = [_config(record) for record in records]
    keys = {config: record["key"] for config, record in zip(configs, records, strict=True)}
    profiles = sorted({config.profile for config in configs} & studies.load(study).profiles.keys())
    asked = {config: key for name in profiles for key, config in studies.by_key(study, name).items()}
    counts, path = Counter(configs), store.published_file(study)
    old = Counter(
        f"{_outdated(record)}: survey sweep {study} --profile {config.profile}, "
        f"then survey publish {study} --profile {config.profile}"
        for record, config in zip(records, configs, strict=True)
        if _outdated(record)
    )
    lines = [dump(record) + "\n" for record in sorted(records, key=lambda record: record["key"])]
    found = [(r["key"], "a run that failed is not published") for r in records if r["status"] == "failed"]
    found += [("", f"{count} runs of {problem}") for problem, count in old.items()]
    found += [(keys[run], f"its config is there {count} times") for run, count in counts.items() if count > 1]
    found += [(keys[run], "the study does not ask for it") for run in keys if run not in asked]
    found += [(asked[run], "the study asks for it, and it is not there") for run in asked if run not in keys]
    if path.exists() and (not lines or "".join(lines).encode() != path.read_bytes()):
        found.append(("", "the file is not as survey publish writes it"))
    return found


def _config(record: dict) -> RunConfig:
    return RunConfig(**identity(record["config"]))


def _outdated(record: dict) -> str:
    """Which version of its method a record is of, if that cannot be computed any more."""
    row, version = _config(record).row, record["method"]["version"]
    if row is None or version == row.version:
        return ""
    return (
        f"{record['config']['method']} are of version {version} of the method, which has version {row.version} "
        "now, and cannot be compared"
    )


def _left_out(record: dict) -> str:
    """Why a run cannot be computed here; empty for one that can."""
    config = record["config"]
    if _outdated(record):
        return "their methods have newer versions"
    if config["data"] != STORIES and not available(config["data"]):
        return f"{config['data']} is not on this machine"
    if config["device"] != "cpu" and not torch.cuda.is_available():
        return "they were computed on a GPU, and torch sees none here"
    return ""


def _again(old: dict, cache: Path, tolerance: float) -> list[Pair]:
    try:
        new = store.short(run(_config(old), cache))
    except ValueError as error:
        new = old | {"status": "refused", "reason": str(error)}
    return compare(old, json.loads(dump(new)), tolerance)


def _mean(pairs: list[Pair]) -> Pair:
    """The mean of n values, which may differ by 1/√n of what each may: all raised by a little are noticed."""
    published, now, allowed = (
        fmean(getattr(pair, name) for pair in pairs) for name in ("published", "now", "allowed")
    )
    return Pair(f"mean of {pairs[0].path}", published, now, allowed / math.sqrt(len(pairs)))


def _kinds(pairs: list[Pair]) -> str:
    """How many values were compared how."""
    counts = Counter(pair.allowed for pair in pairs)
    parts = [f"{counts.pop(0.0, 0)} values must be equal"]
    parts += [f"{count} may differ by {allowed:.2g}" for allowed, count in sorted(counts.items())]
    return f"{', '.join(parts)}; not compared: {', '.join(sorted(NOT_COMPARED))}"
