"""Records of runs as one tidy table."""

import math

import pandas as pd

from survey_lib.experiment.runs.config import FROZEN, Frozen, RunConfig

UNSHOWN = {"method", "optimizer", "lr_schedule", "batch_size", "weight_decay", "device"}
CONFIG = tuple(name for name in Frozen.model_fields if name not in UNSHOWN)
RENAMED = {"macs", "when"}  # asked_macs, and the method's own moment where the config names none
LATER = tuple(sorted(RunConfig.model_fields.keys() - FROZEN - RENAMED)) + ("optimizer", "lr_schedule")
METHOD = ("category", "structure", "when", "version")
MEASURED = {  # column: where it stands in a record
    "accuracy": "metrics.recovered.test.accuracy",
    "validation_accuracy": "metrics.recovered.validation.accuracy",
    "corrupted_accuracy": "metrics.recovered.corrupted.accuracy",
    "divergence": "metrics.recovered.test.divergence",
    "pruned_accuracy": "metrics.pruned.test.accuracy",
    "recalibrated_accuracy": "metrics.recalibrated.test.accuracy",
    "dense_accuracy": "metrics.dense.test.accuracy",
    "test_n": "metrics.recovered.test.n",
    "initial_overlap": "initial_overlap",
    "loss": "metrics.recovered.test.loss",
    "written_loss": "metrics.recovered.written.loss",
    "ece": "metrics.recovered.test.ece",
    "agreement": "metrics.recovered.test.agreement",
    "realised_sparsity": "sparsity",
    "compression": "sizes.compression",
    "speedup_theoretical": "sizes.theoretical_speedup",
    "parameters": "sizes.pruned.parameters",
    "nonzero_parameters": "sizes.pruned.nonzero_parameters",
    "macs": "sizes.pruned.macs",
    "nonzero_macs": "sizes.pruned.nonzero_macs",
    "dense_parameters": "sizes.dense.parameters",
    "dense_macs": "sizes.dense.macs",
}
SPENT = {  # column: its name in the ledger, and the only stage that is meant
    "trained_epochs": ("epochs", None),
    "examples": ("examples", None),
    "training_macs": ("training_macs", None),
    "nonzero_training_macs": ("nonzero_training_macs", None),
    "pruning_macs": ("training_macs", "pruning"),
    "recovery_macs": ("training_macs", "recovery"),
    "seconds": ("seconds", None),
    "cpu_seconds": ("cpu_seconds", None),
}
COLUMNS = ("study", "key", "method", "pattern", *CONFIG, "asked_macs", *LATER, *METHOD, "status", "reason")
COLUMNS += (*MEASURED, "best_test_accuracy", "smallest_layer_density", *SPENT, "machine", "commit")


def frame(rows: list[dict]) -> pd.DataFrame:
    """One row a run as a table, in the order of method, sparsity and seed."""
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.sort_values(["method", "sparsity", "seed", "key"], ignore_index=True)


def row(study: str, record: dict) -> dict:
    """A record's row; that of a failed or refused run holds its reason and no metrics.

    accuracy, loss, ece and agreement (with the dense model) are on the test set of test_n examples, at the
    end of the run; corrupted_accuracy on the corrupted test set, divergence (nats) from the dense language
    model, written_loss on stories written by hand, where measured. pruned_accuracy is as cut,
    recalibrated_accuracy with new batch-norm statistics, both before recovery; dense_accuracy that of the
    same seed's dense model; best_test_accuracy the best epoch's, where it was followed. trained_epochs,
    examples, training_macs (on dense hardware), nonzero_training_macs (theoretical) and seconds are totals
    over dense training, pruning and recovery; pruning_macs and recovery_macs are those stages' part.

    Parameters
    ----------
    study : str
        Name of the study.
    record : dict
        Record of a run.
    """
    config = record["config"]
    method, _, pattern = config["method"].partition(":")
    found = {"study": study, "method": method, "pattern": pattern, "asked_macs": config.get("macs")}
    found |= {name: config.get(name, RunConfig.model_fields[name].default) for name in (*CONFIG, *LATER)}
    found |= {name: record[name] for name in ("key", "status", "reason")}
    found |= {name: record["method"][name] for name in METHOD}
    found |= {name: record["environment"][name] for name in ("machine", "commit")}
    found["when"] = config.get("when") or found["when"]
    if record["status"] != "done":
        return found
    densities = [1 - layer["sparsity"] for layer in record["layers"]]
    found |= {"scope": record["scope"], "smallest_layer_density": min(densities, default=1.0)}
    found |= {column: _at(record, path) for column, path in MEASURED.items()}
    found["best_test_accuracy"] = _best(record)
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
