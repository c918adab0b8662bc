"""Records of runs as one tidy table."""

from __future__ import annotations

import math

import pandas as pd

from survey_lib.experiment.runs.config import FROZEN, Frozen, RunConfig

UNSHOWN = {"method", "optimizer", "lr_schedule", "batch_size", "weight_decay", "device"}
CONFIG = tuple(name for name in Frozen.model_fields if name not in UNSHOWN)
RENAMED = {"macs", "when"}  # asked_macs, and the method's own moment where the config names none
LATER = tuple(sorted(RunConfig.model_fields.keys() - FROZEN - RENAMED)) + ("optimizer", "lr_schedule")
METHOD = ("category", "structure", "when", "version")
SIZES = ("parameters", "nonzero_parameters", "macs", "nonzero_macs")
COLUMNS = (
    "study",
    "key",
    "method",
    "pattern",
    *CONFIG,
    "asked_macs",
    *LATER,
    *METHOD,
    "status",
    "reason",
    "accuracy",
    "validation_accuracy",
    "corrupted_accuracy",
    "divergence",
    "pruned_accuracy",
    "recalibrated_accuracy",
    "dense_accuracy",
    "test_n",
    "best_test_accuracy",
    "barrier",
    "initial_overlap",
    "loss",
    "ece",
    "agreement",
    "realised_sparsity",
    "smallest_layer_density",
    "compression",
    "speedup_theoretical",
    *SIZES,
    "dense_parameters",
    "dense_macs",
    "trained_epochs",
    "examples",
    "training_macs",
    "nonzero_training_macs",
    "pruning_macs",
    "recovery_macs",
    "seconds",
    "cpu_seconds",
    "machine",
    "commit",
)


def frame(rows: list[dict]) -> pd.DataFrame:
    """One row a run as a table, in the order of method, sparsity and seed."""
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.sort_values(["method", "sparsity", "seed", "key"], ignore_index=True)


def row(study: str, record: dict) -> dict:
    """A record's row; that of a failed or refused run holds its reason and no metrics.

    accuracy, loss, ece and agreement (with the dense model) are on the test set of test_n examples, at the
    end of the run; corrupted_accuracy on the corrupted test set, divergence (nats) from the dense language
    model, where measured. pruned_accuracy is as cut, recalibrated_accuracy with new batch-norm statistics,
    both before recovery; dense_accuracy that of the same seed's dense model; best_test_accuracy the best
    epoch's, where it was followed. trained_epochs, examples, training_macs (on dense hardware),
    nonzero_training_macs (theoretical) and seconds are totals over dense training, pruning and recovery;
    pruning_macs and recovery_macs are those stages' part.

    Parameters
    ----------
    study : str
        Name of the study.
    record : dict
        Record of a run.
    """
    config = record["config"]
    method, _, pattern = config["method"].partition(":")
    found = {"study": study, "key": record["key"], "method": method, "pattern": pattern}
    found |= {name: config[name] for name in CONFIG}
    found |= {name: config.get(name, RunConfig.model_fields[name].default) for name in LATER}
    found |= {name: record[name] for name in ("status", "reason")}
    found |= {name: record["method"][name] for name in METHOD}
    found |= {name: record["environment"][name] for name in ("machine", "commit")}
    found |= {"asked_macs": config.get("macs"), "when": config.get("when") or found["when"]}
    if record["status"] != "done":
        return found
    sizes = record["sizes"]
    return (
        found
        | _accuracies(record)
        | _costs(record["ledger"])
        | {
            "scope": record["scope"],
            "realised_sparsity": record["sparsity"],
            "smallest_layer_density": min((1 - layer["sparsity"] for layer in record["layers"]), default=1.0),
            "compression": sizes["compression"],
            "speedup_theoretical": sizes["theoretical_speedup"],
            "dense_parameters": sizes["dense"]["parameters"],
            "dense_macs": sizes["dense"]["macs"],
            "barrier": (record.get("path") or {}).get("barrier"),
            "initial_overlap": record.get("initial_overlap"),
        }
        | {name: sizes["pruned"][name] for name in SIZES}
    )


def _accuracies(record: dict) -> dict:
    metrics, final = record["metrics"], record["metrics"]["recovered"]
    test = {stage: splits["test"] for stage, splits in metrics.items()}
    trained = [entry["epochs"] for entry in record["ledger"] if entry["epochs"]]
    last = record["curve"][-trained[-1] :] if trained else []  # a stage may come again in every round
    return {
        "accuracy": test["recovered"]["accuracy"],
        "loss": test["recovered"]["loss"],
        "ece": test["recovered"]["ece"],
        "agreement": test["recovered"]["agreement"],
        "divergence": test["recovered"].get("divergence"),
        "validation_accuracy": final.get("validation", {}).get("accuracy"),
        "corrupted_accuracy": final.get("corrupted", {}).get("accuracy"),
        "pruned_accuracy": test["pruned"]["accuracy"],
        "dense_accuracy": test["dense"]["accuracy"],
        "recalibrated_accuracy": test.get("recalibrated", {}).get("accuracy"),
        "test_n": test["recovered"].get("n"),
        "best_test_accuracy": max(
            (point["test_accuracy"] for point in last if "test_accuracy" in point), default=None
        ),
    }


def _costs(ledger: list[dict]) -> dict:
    def total(name: str, stage: str | None = None) -> float:
        found = [entry.get(name) for entry in ledger if stage in (None, entry["stage"])]
        return math.nan if None in found else sum(found)

    return {
        "trained_epochs": total("epochs"),
        "examples": total("examples"),
        "training_macs": total("training_macs"),
        "nonzero_training_macs": total("nonzero_training_macs"),
        "pruning_macs": total("training_macs", "pruning"),
        "recovery_macs": total("training_macs", "recovery"),
        "seconds": total("seconds"),
        "cpu_seconds": total("cpu_seconds"),
    }
