"""The record of a run: plain data, ready for the store."""

from __future__ import annotations

from survey_lib.experiment.runs.config import DENSE, SCHEMA, RunConfig
from survey_lib.experiment.data.corruption import corrupted
from survey_lib.experiment.runs.environment import environment
from survey_lib.experiment.runs.run_state import Journey
from survey_lib.experiment.runs.stories import Pruned
from survey_lib.experiment.runs.train import predict, score_metrics
from survey_lib.measure import measure, reductions

METHOD = ("category", "structure", "unit", "when", "version")


def finished(journey: Journey, notes: list[str]) -> dict:
    """The record of a run that came to its end."""
    config, row = journey.config, journey.config.row
    sizes = {stage: measure(model, journey.example) for stage, model in
             (("dense", journey.dense.model), ("pruned", journey.model))}  # fmt: skip
    return header(config) | {
        "status": "done",
        "reason": "",
        "scope": (config.scope or row.scope) if row else None,
        "sparsity": journey.sparsity,
        "layers": _layers(journey),
        "skipped": [list(pair) for pair in journey.skipped],
        "metrics": _metrics(journey),
        "sizes": sizes | reductions(sizes["dense"], sizes["pruned"]),
        "curve": journey.curve,
        "ledger": journey.ledger,
        "warnings": notes,
    }


def finished_stories(config: RunConfig, pruned: Pruned, notes: list[str]) -> dict:
    """The record of a run on the language model; pruned and recovered are one stage, as nothing is trained."""
    sizes = {stage: measure(model, pruned.example) for stage, model in
             (("dense", pruned.dense), ("pruned", pruned.model))}  # fmt: skip
    examples = 0 if config.method == DENSE else pruned.calibration
    macs = examples * sizes["dense"]["macs"]
    return header(config) | {
        "status": "done", "reason": "", "scope": config.row.scope if config.row else None,
        "sparsity": pruned.sparsity, "layers": pruned.layers, "skipped": [],
        "metrics": pruned.metrics | {"recovered": pruned.metrics["pruned"]},
        "sizes": sizes | reductions(sizes["dense"], sizes["pruned"]), "curve": [],
        "ledger": [{"stage": "pruning", "epochs": 0, "examples": examples, "training_macs": macs,
                    "seconds": pruned.seconds}],
        "warnings": notes,
    }  # fmt: skip


def header(config: RunConfig) -> dict:
    """What every record says, that of a failed run too."""
    row = config.row
    method = {name: getattr(row, name) for name in METHOD} if row else dict.fromkeys(METHOD, DENSE)
    return {"schema": SCHEMA, "key": config.key(), "config": config.model_dump(), "method": method,
            "environment": environment(config.device)}  # fmt: skip


def failed(config: RunConfig, reason: str) -> dict:
    """The record of a run that did not finish; the next sweep tries it again."""
    return header(config) | {"status": "failed", "reason": reason}


def _metrics(journey: Journey) -> dict:
    """Stage -> split -> metrics. The test set is read here and nowhere else, after the last epoch."""
    splits = {"validation": journey.data.validation, "test": journey.data.test,
              "corrupted": corrupted(journey.data.test)}  # fmt: skip
    stages = {
        "dense": journey.dense.model,
        "pruned": journey.pruned or journey.dense.model,
        "recovered": journey.model,
    }
    once = {id(model): {name: predict(model, x) for name, (x, _) in splits.items()}
            for model in {id(model): model for model in stages.values()}.values()}  # fmt: skip
    scores = {stage: once[id(model)] for stage, model in stages.items()}
    return {
        stage: {name: score_metrics(scores[stage][name], y, scores["dense"][name].argmax(1))
                for name, (_, y) in splits.items()}
        for stage in stages
    }  # fmt: skip


def _layers(journey: Journey) -> list[dict]:
    """One row a layer: units in the dense network, units kept at the end, sparsity."""
    if not journey.reports:
        return [{"layer": name.removesuffix(".weight"), "unit": "weight", "total": mask.numel(),
                 "kept": int(mask.sum()), "sparsity": 1 - int(mask.sum()) / mask.numel()}
                for name, mask in journey.masks.items()]  # fmt: skip
    total = journey.reports[0].set_index("layer")["total"]
    last = journey.reports[-1].set_index("layer").reindex(total.index)
    layers = last.assign(total=total, sparsity=1 - last["kept"] / total).reset_index()
    return layers[["layer", "unit", "total", "kept", "sparsity"]].to_dict("records")
