"""The network of a run on its way from dense to recovered, with what is written down about it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import torch
from torch import nn

from survey_lib.chain.masks import Masks
from survey_lib.experiment.runs.checkpoint import Dense, recipe
from survey_lib.experiment.runs.config import RunConfig
from survey_lib.experiment.data.loaders import Data
from survey_lib.experiment.runs.train import fit
from survey_lib.measure import measure

FORWARD_AND_BACKWARD = 3  # a backward pass costs about two forward passes


@dataclass
class Journey:
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
    def example(self) -> torch.Tensor:
        return self.data.train[0][:2]

    def charge(self, stage: str, epochs: int, examples: int, seconds: float) -> None:
        """Enter a stage in the cost ledger; MACs of training are three forward passes."""
        macs = FORWARD_AND_BACKWARD * examples * measure(self.model, self.example)["macs"]
        self.ledger.append({"stage": stage, "epochs": epochs, "examples": examples, "training_macs": macs,
                            "seconds": seconds})  # fmt: skip

    def train(self, stage: str, epochs: int, lr: float, first_epoch: int = 0, session=None) -> None:
        """Train the network, its masks held, and note curve and cost."""
        started = time.perf_counter()
        curve = fit(self.model, self.data, epochs=epochs, lr=lr, first_epoch=first_epoch, masks=self.masks,
                    session=session, **recipe(self.config))  # fmt: skip
        self.curve += [{"stage": stage} | point for point in curve]
        trained = epochs - first_epoch
        self.charge(stage, trained, trained * len(self.data.train[1]), time.perf_counter() - started)
