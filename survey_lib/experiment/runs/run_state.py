"""The network of a run on its way from dense to recovered, with what is written down about it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from survey_lib.chain.masks import Masks, apply
from survey_lib.chain.surgery import cut as surgery
from survey_lib.experiment.data.loaders import Data, Split
from survey_lib.experiment.runs.checkpoint import Dense, fresh, recipe
from survey_lib.experiment.runs.config import RunConfig
from survey_lib.experiment.runs.tickets import overlap
from survey_lib.experiment.runs.train import fit
from survey_lib.measure import measure
from survey_lib.measure.training_costs import PASSES, stopwatch

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

    def branch(self, config: RunConfig) -> RunState:
        """The same network for a config that parts here: training one does not change the other."""
        return replace(
            self, config=config, model=copy.deepcopy(self.model), curve=[*self.curve], ledger=[*self.ledger]
        )

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
        macs = {
            "training_macs": round(examples * PASSES * size["macs"]),
            "nonzero_training_macs": examples * (PASSES * size["nonzero_macs"]),
        }
        self.ledger.append({"stage": stage, "epochs": epochs, "examples": examples} | macs | spent)

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
        read = stopwatch()
        curve = fit(
            self.model,
            self.data,
            epochs=epochs,
            lr=lr,
            first_epoch=first_epoch,
            masks=self.masks,
            session=session,
            test=self.data.test if self.config.track_test else None,
            **recipe(self.config),
        )
        self.curve += [{"stage": stage} | point for point in curve]
        trained = epochs - first_epoch
        self.charge(stage, trained, trained * len(self.data.train[1]), read())

    def rebuilt(self, weights: dict[str, Tensor] | None) -> nn.Module:
        """The pruned shape with other weights: those of `weights`, or new ones of another seed."""
        model = fresh(self.config, self.data, self.config.seed + NEW_WEIGHTS)
        if weights is not None:
            model.load_state_dict(weights)
        for plan in self.plans:
            model = surgery.replay(model, plan)
        return apply(model, self.masks)

    def initial_overlap(self) -> float | None:
        """Share of the kept weights that the largest first weights would keep; None without masks."""
        if not self.masks:
            return None
        return overlap(self.masks, dict(fresh(self.config, self.data, self.config.seed).named_parameters()))
