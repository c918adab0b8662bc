"""One atomic JSON file a run; published results underneath; and all of them as one tidy table.

runs/STUDY/KEY.json         local runs, ignored by git (or the folder SURVEY_RUNS)
data/results/STUDY.jsonl    published runs, one sorted line each
"""

import math
import os
import warnings
from pathlib import Path

import pandas as pd

from survey_lib.experiment import files
from survey_lib.experiment import records as lines
from survey_lib.experiment.runs.config import FROZEN, Frozen, RunConfig, digest, identity
from survey_lib.experiment.sweeps import study as studies
from survey_lib.repository import REPOSITORY

PUBLISHED = REPOSITORY / "data" / "results"
# Wall over CPU seconds: above it a time says more of the machine's other work than of the run's
CROWDED = 1.5
UNSHOWN = {"method", "optimizer", "lr_schedule", "batch_size", "weight_decay", "device"}
CONFIG = tuple(name for name in Frozen.model_fields if name not in UNSHOWN)
RENAMED = {"macs", "when"}  # asked_macs, and the method's own moment where the config names none
LATER = tuple(sorted(RunConfig.model_fields.keys() - FROZEN - RENAMED)) + ("optimizer", "lr_schedule")
MEASURED = {  # column: where it stands in a record
    "accuracy": "metrics.recovered.test.accuracy",
    "validation_accuracy": "metrics.recovered.validation.accuracy",
    "corrupted_accuracy": "metrics.recovered.corrupted.accuracy",
    "divergence": "metrics.recovered.test.divergence",
    "pruned_accuracy": "metrics.pruned.test.accuracy",
    "recalibrated_accuracy": "metrics.recalibrated.test.accuracy",
    "dense_accuracy": "metrics.dense.test.accuracy",
    "test_n": "metrics.recovered.test.n",
    "loss": "metrics.recovered.test.loss",
    "written_loss": "metrics.recovered.written.loss",
    "ece": "metrics.recovered.test.ece",
    "agreement": "metrics.recovered.test.agreement",
    "compression": "sizes.compression",
    "speedup_theoretical": "sizes.theoretical_speedup",
    "parameters": "sizes.pruned.parameters",
    "macs": "sizes.pruned.macs",
}
SPENT = {  # column: its name in the ledger, and the only stage that is meant
    "trained_epochs": ("epochs", None),
    "examples": ("examples", None),
    "training_macs": ("training_macs", None),
    "pruning_macs": ("training_macs", "pruning"),
    "recovery_macs": ("training_macs", "recovery"),
    "seconds": ("seconds", None),
    "cpu_seconds": ("cpu_seconds", None),
}
COLUMNS = ["study", "key", "method", "pattern", *CONFIG, "asked_macs", *LATER]
COLUMNS += ["category", "structure", "when", "version", "status", "reason"]
COLUMNS += [*MEASURED, "best_test_accuracy", *SPENT]


def runs_folder() -> Path:
    """Folder of local runs: SURVEY_RUNS, else `runs` in the repository."""
    folder = Path(os.environ.get("SURVEY_RUNS") or REPOSITORY / "runs")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; set SURVEY_RUNS to a folder for the records of runs")
    return folder


def study_folder(study: str) -> Path:
    """Folder of a study's local runs.

    Parameters
    ----------
    study : str
        Name of the study.

    Raises
    ------
    ValueError
        For a name that could leave the runs folder.
    """
    return runs_folder() / studies.check_name(study)


def published_file(study: str) -> Path:
    """The published file of a study.

    Parameters
    ----------
    study : str
        Name of the study.
    """
    return PUBLISHED / f"{study}.jsonl"


def write(study: str, record: dict) -> Path:
    """Write one run's file in one step: a reader, or a crash, sees the whole file or none.

    Parameters
    ----------
    study : str
        Name of the study.
    record : dict
        Record of the run.

    Raises
    ------
    ValueError
        For a record that does not hold, by `records.parse`.
    """
    path, text = study_folder(study) / f"{record['key']}.json", lines.dump(record)
    lines.parse(text)
    return files.replace(path, text + "\n")


def local_records(study: str) -> dict[str, dict]:
    """Local runs by key.

    Files that cannot be read are named and left out, so their runs are done again (B67).

    Parameters
    ----------
    study : str
        Name of the study.
    """
    found = {}
    for path in sorted(study_folder(study).glob("*.json")):
        try:
            files.check_plain(path)
            found[path.stem] = lines.parse(path.read_text(encoding="utf-8"), path.stem)
        except (ValueError, OSError) as error:  # JSON and Unicode errors are ValueErrors
            warnings.warn(f"{path} is left out, and its run will be done again: {error}", stacklevel=2)
    return found


def same(config: dict) -> str:
    """Equal for equal configs, whatever schema and version of the method computed their runs."""
    return digest(identity(config))


def published_records(study: str) -> dict[str, dict]:
    """Published runs by key.

    Parameters
    ----------
    study : str
        Name of the study.

    Raises
    ------
    ValueError
        For a damaged one; the text names the file and line.
    """
    path, found = published_file(studies.check_name(study)), {}
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    written = text.removesuffix("\n").split("\n") if text else []  # splitlines would also split at U+2028
    for number, line in enumerate(written, 1):
        try:
            record = lines.parse(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}; restore the file") from error
        found[record["key"]] = record
    return found


def records(study: str, *, local: bool = True, profile: str | None = None) -> list[dict]:
    """Full records of a study, sorted by key: local runs over the published ones.

    Local runs of configs that the study no longer asks for are left out.

    Parameters
    ----------
    study : str
        Name of the study.
    local : bool, default True
        With the runs of this machine.
    profile : str, optional
        Only the runs of quick or full.
    """
    found = {same(run["config"]): run for run in published_records(study).values()}
    if local:
        asked, mine = studies.keys(study), local_records(study)
        found |= {same(run["config"]): run for key, run in mine.items() if key in asked}
    wanted = [run for run in found.values() if profile in (None, run["config"]["profile"])]
    return sorted(wanted, key=lambda run: run["key"])


def results(study: str, *, local: bool = True, profile: str | None = None) -> pd.DataFrame:
    """One tidy row a run, local runs over the published ones.

    Columns: see `COLUMNS`. Failed runs stand in it with their status and reason, and no metrics.

    accuracy, loss, ece and agreement (with the dense model) are on the test set of test_n examples, at the
    end of the run; corrupted_accuracy on the corrupted test set, divergence (nats) from the dense language
    model, written_loss on stories written by hand, where measured. pruned_accuracy is as cut,
    recalibrated_accuracy with new batch-norm statistics, both before recovery; dense_accuracy that of the
    same seed's dense model; best_test_accuracy the best epoch's, where it was followed. trained_epochs,
    examples, training_macs (on dense hardware) and seconds are totals over dense training, pruning and
    recovery; pruning_macs and recovery_macs are those stages' part.

    Parameters
    ----------
    study : str
        Name of the study.
    local : bool, default True
        False reads only what was published.
    profile : str, optional
        Only the runs of quick or full.

    Raises
    ------
    ValueError
        For a study that nobody knows.
    """
    found = records(study, local=local, profile=profile)
    if not found:
        studies.load(study)
    table = pd.DataFrame([_row(study, record) for record in found], columns=COLUMNS)
    return table.sort_values(["method", "sparsity", "seed", "key"], ignore_index=True)


def _row(study: str, record: dict) -> dict:
    """What the record says, under the names of the columns and others."""
    config = {name: field.default for name, field in RunConfig.model_fields.items()} | record["config"]
    method, _, pattern = config["method"].partition(":")
    found = {"asked_macs": config.pop("macs"), "study": study, "method": method, "pattern": pattern}
    found = record["method"] | config | found | {name: record[name] for name in ("key", "status", "reason")}
    found["when"] = config["when"] or record["method"]["when"]
    if record["status"] != "done":
        return found
    found |= {column: _at(record, path) for column, path in MEASURED.items()}
    found |= {"scope": record["scope"], "best_test_accuracy": _best(record)}
    return found | {column: _total(record["ledger"], *of) for column, of in SPENT.items()}


def _at(record: dict, path: str) -> object:
    """What stands at a path; None where a part of it is missing."""
    for name in path.split("."):
        record = (record or {}).get(name)
    return record


def _best(record: dict) -> float | None:
    """The best test accuracy of the last training, where it was followed."""
    trained = [entry["epochs"] for entry in record["ledger"] if entry["epochs"]]
    last = record["curve"][-trained[-1] :] if trained else []  # a stage may come again in every round
    return max((point["test_accuracy"] for point in last if "test_accuracy" in point), default=None)


def _total(ledger: list[dict], name: str, stage: str | None) -> float:
    found = [entry.get(name) for entry in ledger if stage in (None, entry["stage"])]
    return math.nan if None in found else sum(found)


def short(record: dict) -> dict:
    """The record as it is published.

    Of its curve, which would be most of the file, the last point of each stage (all points where the test accuracy
    is followed); no wall seconds of stages that shared the processor.
    """
    if record["status"] != "done":
        return record
    points = record["curve"]
    if not record["config"].get("track_test"):
        points = list({point["stage"]: point for point in points}.values())
    ledger = [spent | {"seconds": None} if _crowded(spent) else spent for spent in record["ledger"]]
    return record | {"curve": points, "ledger": ledger}


def _crowded(spent: dict) -> bool:
    cpu, wall = spent.get("cpu_seconds"), spent["seconds"]
    return None not in (cpu, wall) and wall > CROWDED * cpu


def publish(study: str, profile: str = "full", prune: bool = False) -> Path:
    """Write the finished and refused runs of a profile as the study's published file.

    The same runs make the same bytes.

    Parameters
    ----------
    study : str
        Name of the study.
    profile : str, default 'full'
        Quick or full.
    prune : bool, default False
        Published runs may be dropped.

    Raises
    ------
    ValueError
        When there is no run; and, unless `prune`, when a published run would be dropped: one that the
        study no longer asks for, or whose method or schema has changed and that was not computed again.
    """
    asked, found = studies.keys(study), records(study, profile=profile)
    done = [run for run in found if run["status"] != "failed" and run["key"] in asked]
    if not done:
        raise ValueError(f"{study} has no finished run; first: survey sweep {study} --profile {profile}")
    kept = {same(run["config"]) for run in done}
    lost = [run for run in published_records(study).values() if same(run["config"]) not in kept]
    if lost and not prune:
        named = f"{lost[0]['key']} ({title(lost[0]['config'])})"
        lost = f"{len(lost)} published runs of {study} would be dropped, such as {named}"
        way = f"survey sweep {study} --profile {profile} computes them, and --prune drops them"
        raise ValueError(f"{lost}; {way}")
    content = "".join(lines.dump(short(record)) + "\n" for record in done)
    return files.replace(published_file(study), content)


def title(config: dict) -> str:
    """What a run is, in a few words."""
    method, sparsity, seed = (config[name] for name in ("method", "sparsity", "seed"))
    return f"{method} at {sparsity:g}, {config['model']} on {config['data']}, seed {seed}"
