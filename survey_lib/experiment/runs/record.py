"""The record of a run: plain data, ready for the store."""

import platform
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from survey_lib.chain.masks import by_layer
from survey_lib.chain.training.recalibrate import recalibrate
from survey_lib.experiment.data.loaders import corrupted
from survey_lib.experiment.records import pack, unpack
from survey_lib.experiment.runs.config import DENSE, SCHEMA, RunConfig
from survey_lib.experiment.runs.run_state import RunState
from survey_lib.experiment.runs.train import predict, score_metrics
from survey_lib.measure import machine, measure, reductions
from survey_lib.repository import commit, versions

PACKAGES = ("survey_lib", "torch", "torchvision", "numpy", "scikit-learn")
METHOD = ("category", "structure", "unit", "when", "version")
BASELINE = dict.fromkeys(METHOD, DENSE) | {"version": 1}


def correct(record: dict, stage: str = "recovered") -> np.ndarray:
    """Which test examples were right at a stage of a run, in the order of the test set.

    Runs on one data set can be compared example by example.

    Parameters
    ----------
    record : dict
        Record of a finished run.
    stage : str, default 'recovered'
        dense, pruned (as cut), recalibrated (with new batch-norm statistics) or recovered.

    Returns
    -------
    np.ndarray
        (n,) bool.

    Raises
    ------
    ValueError
        For a record that does not hold it: of a run that did not finish, of schema 1, or of another
        stage.
    """
    test = record.get("metrics", {}).get(stage, {}).get("test", {})
    if "correct" not in test:
        raise ValueError(
            f"run {record['key']} (status {record['status']}, schema {record['schema']}) does not say "
            f"which test examples were right at stage {stage!r}; "
            f"it has: {', '.join(record.get('metrics', {})) or 'none'}"
        )
    return unpack(test["correct"], test["n"])


def record(state: RunState) -> dict:
    """The record of a run that came to its end."""
    models = {"dense": state.dense.model, "pruned": state.model}
    return finished(models, state.config, state.example) | {
        "sparsity": state.sparsity,
        "layers": _layers(state),
        "skipped": [list(pair) for pair in state.skipped],
        "metrics": _metrics(state),
        "curve": [*state.curve],
        "ledger": [*state.ledger],
        "initial_overlap": state.initial_overlap(),
    }


def finished(models: dict[str, nn.Module], config: RunConfig, example: Tensor) -> dict:
    """What the record of every finished run says.

    Parameters
    ----------
    models : dict[str, nn.Module]
        The dense and the pruned network.
    config : RunConfig
        Config of the run.
    example : Tensor
        An input of their forward.
    """
    sizes = {stage: measure(model, example) for stage, model in models.items()}
    scope = (config.scope or config.row.scope) if config.row else None
    return header(config) | {
        "status": "done",
        "reason": "",
        "scope": scope,
        "sizes": sizes | reductions(sizes["dense"], sizes["pruned"]),
    }


def header(config: RunConfig) -> dict:
    """What every record says, that of a failed run too."""
    return {
        "schema": SCHEMA,
        "key": config.key(),
        "config": config.model_dump(),
        "method": {name: getattr(config.row, name) for name in METHOD} if config.row else BASELINE,
        "environment": environment(config.device),
    }


def environment(device: str = "cpu") -> dict:
    """Versions, threads, machine and commit, for the record of a run."""
    return {
        "python": platform.python_version(),
        **versions(PACKAGES),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "machine": machine(device),
        "commit": commit(),
    }


def failed(config: RunConfig, reason: str, status: str = "failed") -> dict:
    """The record of a run that did not finish.

    Parameters
    ----------
    config : RunConfig
        Config of the run.
    reason : str
        Why it did not finish.
    status : str, default 'failed'
        failed, and tried again by the next sweep, or refused for good.
    """
    return header(config) | {"status": status, "reason": reason}


def _metrics(state: RunState) -> dict:
    """Stage -> split -> metrics. The test set is read here and nowhere else, after the last epoch."""
    splits = {
        "test": state.data.test,
        "validation": state.data.validation,
        "corrupted": corrupted(state.data.test),
    }
    cut = state.pruned or state.dense.model
    stages = {  # model, splits
        "dense": (state.dense.model, splits),
        "pruned": (cut, ("test", "validation")),
        "recalibrated": (recalibrated(cut, state), ("test",)),
        "recovered": (state.model, splits),
    }

    @cache  # stages share models
    def scores(model: nn.Module, name: str) -> Tensor:
        return predict(model, splits[name][0])

    reference = {name: scores(state.dense.model, name).argmax(1) for name in splits}
    metrics = {
        stage: {name: score_metrics(scores(model, name), splits[name][1], reference[name]) for name in names}
        for stage, (model, names) in stages.items()
    }
    y = splits["test"][1]
    for stage, (model, _) in stages.items():
        right = scores(model, "test").argmax(1).eq(y).cpu().numpy()
        metrics[stage]["test"] |= {"n": len(y), "correct": pack(right)}
    return metrics


def recalibrated(model: nn.Module, state: RunState) -> nn.Module:
    """The model with batch-norm statistics of its own, from training images.

    It is the same model where it has no batch norm.

    Parameters
    ----------
    model : nn.Module
        The pruned network.
    state : RunState
        State of the run.
    """
    if not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return model
    return recalibrate(model, state.training_images())


def _layers(state: RunState) -> list[dict]:
    """One row a layer: units in the dense network, units kept at the end, sparsity."""
    if not state.reports:
        return by_layer(state.masks)
    total = state.reports[0].set_index("layer")["total"]
    last = state.reports[-1].set_index("layer").reindex(total.index)
    layers = last.assign(total=total, sparsity=1 - last["kept"] / total).reset_index()
    return layers[["layer", "unit", "total", "kept", "sparsity"]].to_dict("records")
