"""Records of runs as one tidy table."""

from __future__ import annotations

import pandas as pd

CONFIG = ("profile", "data", "model", "sparsity", "scope", "schedule", "rounds", "recovery", "epochs",
          "recovery_epochs", "rewind_epoch", "lr", "recovery_lr", "evidence", "layer", "ticket", "seed")  # fmt: skip
METHOD = ("category", "structure", "when")
SIZES = ("parameters", "nonzero_parameters", "macs", "nonzero_macs")
COLUMNS = ("study", "key", "method", "pattern", *CONFIG, *METHOD, "status", "reason", "accuracy",
           "validation_accuracy", "corrupted_accuracy", "divergence", "pruned_accuracy", "dense_accuracy",
           "loss", "ece", "agreement", "realised_sparsity", "smallest_layer_density", "compression",
           "speedup_theoretical", *SIZES,
           "dense_parameters", "dense_macs", "training_macs", "pruning_macs", "recovery_macs", "seconds", "machine",
           "commit")  # fmt: skip


def frame(rows: list[dict]) -> pd.DataFrame:
    """One row a run as a table, in the order of method, sparsity and seed."""
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.sort_values(["method", "sparsity", "seed", "key"], ignore_index=True)


def row(study: str, record: dict) -> dict:
    """A record's row; that of a failed run holds its reason and no metrics.

    accuracy, loss, ece and agreement (with the dense model) are on the test set, at the end of the run;
    corrupted_accuracy on the corrupted test set, divergence (nats) from the dense language model, where measured;
    pruned_accuracy before recovery; dense_accuracy that of the same seed's dense model. training_macs and
    seconds are totals over the run's own stages; pruning_macs and recovery_macs are those stages' part.
    """
    config = record["config"]
    method, _, pattern = config["method"].partition(":")
    found = {"study": study, "key": record["key"], "method": method, "pattern": pattern} | {
        name: config[name] for name in CONFIG}  # fmt: skip
    found |= {name: record[name] for name in ("status", "reason")}
    found |= {name: record["method"][name] for name in METHOD}
    found |= {name: record["environment"][name] for name in ("machine", "commit")}
    if record["status"] != "done":
        return found
    metrics, sizes = record["metrics"], record["sizes"]
    final = metrics["recovered"]
    return found | {
        "scope": record["scope"],
        "accuracy": final["test"]["accuracy"], "loss": final["test"]["loss"], "ece": final["test"]["ece"],
        "agreement": final["test"]["agreement"], "validation_accuracy": final["validation"]["accuracy"],
        "corrupted_accuracy": final.get("corrupted", {}).get("accuracy"), "divergence": final["test"].get("divergence"),
        "pruned_accuracy": metrics["pruned"]["test"]["accuracy"],
        "dense_accuracy": metrics["dense"]["test"]["accuracy"],
        "realised_sparsity": record["sparsity"],
        "smallest_layer_density": min((1 - layer["sparsity"] for layer in record["layers"]), default=1.0),
        "compression": sizes["compression"], "speedup_theoretical": sizes["theoretical_speedup"],
        "dense_parameters": sizes["dense"]["parameters"], "dense_macs": sizes["dense"]["macs"],
        "training_macs": _training_macs(record),
        "pruning_macs": _training_macs(record, "pruning"), "recovery_macs": _training_macs(record, "recovery"),
        "seconds": sum(stage["seconds"] for stage in record["ledger"]),
    } | {name: sizes["pruned"][name] for name in SIZES}  # fmt: skip


def _training_macs(record: dict, stage: str | None = None) -> int:
    return sum(entry["training_macs"] for entry in record["ledger"] if stage in (None, entry["stage"]))
