"""Published files checked, and some of their runs computed again from nothing and compared."""

import json
import random
import tempfile
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path

import pandas as pd
import torch

from survey_lib.catalogue import find
from survey_lib.experiment.data.loaders import available
from survey_lib.experiment.differences import Pair, compare
from survey_lib.experiment.records import dump
from survey_lib.experiment.runs.config import DENSE, STORIES, RunConfig, identity
from survey_lib.experiment.runs.run import run
from survey_lib.experiment.sweeps import store
from survey_lib.experiment.sweeps import study as studies


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
    rows = [(name, key, Pair(fault, "", "a fault", 0.0)) for name in names for key, fault in faults(name)]
    published = [(name, record) for name in names for record in store.published_records(name).values()]
    data = {record["config"]["data"] for _, record in published} - {STORIES}
    absent = {name for name in data if not available(name)}
    here = [(name, record) for name, record in published if _computable(record, absent)]
    report(f"{len(published)} published runs of {', '.join(names)}: {len(rows)} faults of the files")
    report(f"{len(here)} of them can be computed here, with the data, the device and the methods of today")
    if not (here or rows):
        raise ValueError("nothing to compare; `survey publish STUDY` and `survey doctor` (data) help on")
    drawn = random.Random(seed).sample(here, min(sample, len(here)))
    with tempfile.TemporaryDirectory() as cache:
        for number, (name, old) in enumerate(drawn, 1):
            pairs = _again(old, Path(cache), studies.load(name).tolerance)
            exact = sum(pair.allowed == 0 for pair in pairs)
            what = f"{number} of {len(drawn)}: {name}, {store.title(old['config'])}"
            report(f"{what}: {len(pairs)} values, of which {exact} must be equal")
            rows += [(name, old["key"], pair) for pair in pairs]
    table = [(name, key, *astuple(pair), pair.agrees) for name, key, pair in rows]
    return pd.DataFrame(table, columns=["study", "key", "metric", "published", "now", "allowed", "agrees"])


def faults(study: str) -> list[tuple[str, str]]:
    """Key and fault of each published run that `survey publish` cannot have written.

    The runs must be those that the study's profiles ask for, finished, and of the present versions of their
    methods; the bytes of the file must be as `store.publish` writes them, with each run once. (Keys, fields
    and possible values are checked when records are read.) Methods with a newer version are named once each.

    Parameters
    ----------
    study : str
        Name of the study.
    """
    records, path = store.published_records(study), store.published_file(study)
    there = {store.same(record["config"]): key for key, record in records.items()}
    profiles = {record["config"]["profile"] for record in records.values()}
    runs = [run for name in sorted(profiles) for run in studies.configs(study, name)]
    asked = {store.same(run.model_dump()): run.key() for run in runs}
    found = [(there[one], "a run that the study does not ask for") for one in there.keys() - asked.keys()]
    found += [(asked[one], "a run that is asked for is missing") for one in asked.keys() - there.keys()]
    found += [(key, "a failed run") for key, record in records.items() if record["status"] == "failed"]
    old = {record["config"]["method"] for record in records.values() if _outdated(record)}
    found += [("", f"{method} has a newer version: sweep and publish again") for method in sorted(old)]
    lines = [dump(records[key]) + "\n" for key in sorted(records)]
    if path.exists() and (not lines or "".join(lines).encode() != path.read_bytes()):
        found.append(("", "the file is not as survey publish writes it"))
    return found


def _outdated(record: dict) -> bool:
    """Whether a record is of another version of its method than can be computed now."""
    method = record["config"]["method"]
    return method != DENSE and find(method).version != record["method"]["version"]


def _computable(record: dict, absent: set[str]) -> bool:
    """Whether a run can be computed here, where some data sets are absent."""
    config = record["config"]
    device = config["device"] == "cpu" or torch.cuda.is_available()
    return device and config["data"] not in absent and not _outdated(record)


def _again(old: dict, cache: Path, tolerance: float) -> list[Pair]:
    try:
        new = store.short(run(RunConfig(**identity(old["config"])), cache))
    except ValueError as error:
        new = old | {"status": "refused", "reason": str(error)}
    return compare(old, json.loads(dump(new)), tolerance)
