"""Published runs computed again from nothing, and compared with what was published."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from survey_lib.experiment.data.loaders import available
from survey_lib.experiment.environment import environment
from survey_lib.experiment.runs.config import SCHEMA, STORIES, RunConfig
from survey_lib.experiment.runs.run import run
from survey_lib.experiment.sweeps import store
from survey_lib.experiment.sweeps import study as studies

COLUMNS = ["study", "key", "metric", "published", "now", "allowed", "agrees"]
COUNTS = ("parameters", "nonzero_parameters", "macs")


def verify(study: str | None = None, sample: int = 5, seed: int = 0,
           report: Callable[[str], None] = print) -> pd.DataFrame:  # fmt: skip
    """Compute `sample` published runs again, drawn by `seed` from one study or all; one row a metric.

    Accuracies must agree within the study's tolerance, and exactly where versions, processor and threads are
    those of the record; sparsity, parameters and MACs always exactly. Runs whose data set is not on this
    machine cannot be drawn, and are counted in the report.
    Raises ValueError when nothing that can be computed here is published.
    """
    names = [study] if study else [name for name in studies.names() if store.published_file(name).exists()]
    published = [(name, record) for name in names for record in store.records(name, local=False)
                 if record["status"] == "done"]  # fmt: skip
    sets = {record["config"]["data"] for _, record in published}
    at_hand = {data for data in sets if data == STORIES or available(data)}
    here = [(name, record) for name, record in published if record["config"]["data"] in at_hand]
    if not here:
        where = store.published_file(study) if study else store.published_file("*").parent
        raise ValueError(f"{where} holds no run that can be computed here; `survey publish STUDY` writes it, "
                         "`survey doctor` shows which data are missing")  # fmt: skip
    if len(here) < len(published):
        report(
            f"{len(published) - len(here)} of {len(published)} runs need data that are not on this machine"
        )
    drawn = random.Random(seed).sample(here, min(sample, len(here)))
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        for number, (name, old) in enumerate(drawn, 1):
            config = RunConfig(**old["config"])
            report(f"{number} of {len(drawn)}: {name}, {config.data}, {config.model}, {config.method} at "
                   f"{config.sparsity:g}, seed {config.seed}")  # fmt: skip
            rows += [
                (name, old["key"], *pair)
                for pair in _pairs(old, run(config, Path(cache)), _tolerance(name, old))
            ]
    table = pd.DataFrame(rows, columns=COLUMNS[:-1])
    return table.assign(agrees=(table["published"] - table["now"]).abs() <= table["allowed"])


def _tolerance(name: str, old: dict) -> float:
    """Zero where the machine, the schema and all versions are the record's own; else what the study allows."""
    now, then = environment(), old["environment"]
    same = old["schema"] == SCHEMA and all(
        now[field] == then.get(field) for field in now if field != "commit"
    )
    return 0.0 if same else studies.load(name).tolerance


def _pairs(old: dict, new: dict, tolerance: float) -> Iterator[tuple[str, float, float, float]]:
    for stage, splits in old["metrics"].items():
        for split in (
            splits.keys() & new["metrics"][stage].keys()
        ):  # schema 1 measured more of the pruned stage
            before, now = (one["metrics"][stage][split]["accuracy"] for one in (old, new))
            yield f"{stage} {split} accuracy", before, now, tolerance
    yield "sparsity", old["sparsity"], new["sparsity"], 0.0
    for name in COUNTS:
        yield name, old["sizes"]["pruned"][name], new["sizes"]["pruned"][name], 0.0
