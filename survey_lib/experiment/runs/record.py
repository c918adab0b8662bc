"""What a run writes down on its way from dense to recovered, and the record that it ends with."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from survey_lib.chain.masks import Masks, apply, by_layer
from survey_lib.chain.surgery.plan import replay
from survey_lib.chain.training.recovery import recalibrate
from survey_lib.experiment.data.loaders import Data, Split, corrupted
from survey_lib.experiment.records import pack, unpack
from survey_lib.experiment.runs.checkpoint import Dense, fresh, recipe
from survey_lib.experiment.runs.config import DENSE, SCHEMA, RunConfig
from survey_lib.experiment.runs.tickets import overlap
from survey_lib.experiment.runs.train import fit, predict, score_metrics
from survey_lib.measure import machine, measure, reductions, stopwatch
from survey_lib.measure.counts import PASSES
from survey_lib.repository import commit, versions

PACKAGES = ("survey_lib", "torch", "torchvision", "numpy", "scikit-learn")
METHOD = ("category", "structure", "unit", "when", "version")
BASELINE = dict.fromkeys(METHOD, DENSE) | {"version": 1}
BATCH = 50  # training images that a method, or a batch norm, looks at together
RECALIBRATION = 2000  # training images
NEW_WEIGHTS = 1_000_003  # added to the seed: weights that no run of a study starts from


@dataclass
class RunState:
    """The network of a run on its way, and what was written down."""

    config: RunConfig
    data: Data
    dense: Dense
    model: nn.Module
    masks: Masks = field(default_factory=dict)
    plans: list[dict] = field(default_factory=list)
    reports: list = field(default_factory=list)
    pruned: nn.Module | None = None
    curve: list[dict] = field(default_factory=list)
    ledger: list[dict] = field(default_factory=list)
    skipped: list = field(default_factory=list)
    sparsity: float = 0.0

    @property
    def example(self) -> Tensor:
        """Two training images."""
        return self.data.train[0][:2]

    def training_images(self, count: int = RECALIBRATION) -> list[Split]:
        """Batches of the first `count` training images of a seeded order, as they are."""
        x, y = self.data.train
        order = torch.randperm(len(y), generator=torch.Generator().manual_seed(self.config.seed))
        return [(x[part], y[part]) for part in order[:count].to(y.device).split(BATCH)]

    def charge(self, stage: str, epochs: int, examples: int, spent: dict) -> None:
        """Enter a stage in the cost ledger.

        MACs of training on dense hardware, and of the non-zero weights alone (theoretical).

        Parameters
        ----------
        stage : str
            Name of the stage.
        epochs : int
            Epochs of the training.
        examples : int
            Examples in an epoch.
        spent : dict
            Seconds, wall and CPU.
        """
        size = measure(self.model, self.example)
        entry = {"stage": stage, "epochs": epochs, "examples": examples} | spent
        entry["training_macs"] = round(examples * PASSES * size["macs"])
        entry["nonzero_training_macs"] = examples * (PASSES * size["nonzero_macs"])
        self.ledger.append(entry)

    def train(self, stage: str, epochs: int, lr: float, first_epoch: int = 0, session=None) -> None:
        """Train the network, its masks held, and note curve and cost.

        Parameters
        ----------
        stage : str
            Name of the stage.
        epochs : int
            Epochs of the whole schedule.
        lr : float
            The highest learning rate.
        first_epoch : int, default 0
            Where to start on the schedule.
        session : optional
            Starts a method that acts while training.
        """
        read, choices = stopwatch(), recipe(self.config, self.data)
        choices |= {"epochs": epochs, "lr": lr, "first_epoch": first_epoch, "session": session}
        curve = fit(self.model, self.data, masks=self.masks, **choices)
        self.curve += [{"stage": stage} | point for point in curve]
        trained = epochs - first_epoch
        self.charge(stage, trained, trained * len(self.data.train[1]), read())

    def rebuilt(self, weights: dict[str, Tensor] | None) -> nn.Module:
        """The pruned shape with other weights: those of `weights`, or new ones of another seed."""
        model = fresh(self.config, self.data, self.config.seed + NEW_WEIGHTS)
        if weights is not None:
            model.load_state_dict(weights)
        for plan in self.plans:
            model = replay(model, plan)
        return apply(model, self.masks)


def record(state: RunState) -> dict:
    """The record of a run that came to its end."""
    models = {"dense": state.dense.model, "pruned": state.model}
    first = dict(fresh(state.config, state.data, state.config.seed).named_parameters())
    return finished(models, state.config, state.example) | {
        "sparsity": state.sparsity,
        "layers": _layers(state),
        "skipped": [list(pair) for pair in state.skipped],
        "metrics": _metrics(state),
        "curve": [*state.curve],
        "ledger": [*state.ledger],
        "initial_overlap": overlap(state.masks, first) if state.masks else None,
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
    found = header(config) | {"status": "done", "reason": "", "scope": scope}
    return found | {"sizes": sizes | reductions(sizes["dense"], sizes["pruned"])}


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
    found = {"python": platform.python_version()} | versions(PACKAGES)
    found |= {"threads": torch.get_num_threads(), "platform": platform.platform()}
    return found | {"machine": machine(device), "commit": commit()}


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
    data, cut = state.data, state.pruned
    splits = {"test": data.test, "validation": data.validation, "corrupted": corrupted(data.test)}
    normed = any(isinstance(module, _BatchNorm) for module in cut.modules())
    stages = {  # model, splits
        "dense": (state.dense.model, splits),
        "pruned": (cut, ("test", "validation")),
        "recalibrated": (recalibrate(cut, state.training_images()) if normed else cut, ("test",)),
        "recovered": (state.model, splits),
    }

    @cache  # stages share models
    def scores(model: nn.Module, name: str) -> Tensor:
        return predict(model, splits[name][0])

    def metrics(model: nn.Module, name: str) -> dict:
        reference = scores(state.dense.model, name).argmax(1)
        return score_metrics(scores(model, name), splits[name][1], reference)

    found = {
        stage: {name: metrics(model, name) for name in names} for stage, (model, names) in stages.items()
    }
    for stage, (model, _) in stages.items():
        right = scores(model, "test").argmax(1).eq(data.test[1])
        found[stage]["test"] |= {"n": len(right), "correct": pack(right.cpu().numpy())}
    return found


def _layers(state: RunState) -> list[dict]:
    """One row a layer: units in the dense network, units kept at the end, sparsity."""
    if not state.reports:
        return by_layer(state.masks)
    total = state.reports[0].set_index("layer")["total"]
    last = state.reports[-1].set_index("layer").reindex(total.index)
    layers = last.assign(total=total, sparsity=1 - last["kept"] / total).reset_index()
    return layers[["layer", "unit", "total", "kept", "sparsity"]].to_dict("records")


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
        what = f"run {record['key']} (status {record['status']}, schema {record['schema']})"
        there = ", ".join(record.get("metrics", {})) or "none"
        raise ValueError(
            f"{what} does not say which test examples were right at stage {stage!r}; it has: {there}"
        )
    return unpack(test["correct"], test["n"])
