"""What a run is: every choice that changes its result, checked before any work, hashed into its key."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator
from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from survey_lib.catalogue import Method, check_pattern, find
from survey_lib.experiment.data import loaders as data
from survey_lib.experiment.networks import models
from survey_lib.experiment.runs.tickets import TICKETS

SCHEMA = 1  # of records and keys: raise it when the meaning of a run changes
DENSE = "dense"
STORIES = "stories260K"  # data and model at once: a pretrained language model, nothing is trained
DENSE_FIELDS = ("data", "model", "epochs", "rewind_epoch", "lr", "optimizer", "lr_schedule", "batch_size",
                "weight_decay", "seed", "device")  # fmt: skip


class RunConfig(BaseModel):
    """One run, frozen and hashable.

    method           a name of the catalogue (`nm-magnitude:2:4` chooses a pattern), or `dense`, the baseline
    sparsity         fraction of the method's units to remove, in [0, 1)
    scope            layerwise, global or erk; None is the method's own
    schedule, rounds one-shot, or `rounds` steps of iterative or gradual, each followed by the recovery
    recovery         none; finetune; rewind (weights and learning rate back to `rewind_epoch`); lr-rewind
                     (learning rate only); scratch-e, scratch-b (new weights; same epochs, same MACs)
    epochs, lr       dense training; `recovery_epochs`, `recovery_lr`: fine-tuning
    evidence         training examples a method may look at when it scores
    layer            prune this layer alone (a sensitivity scan); None prunes all
    ticket           original; shuffled (the mask's places drawn anew in each layer); reinitialised (other weights)

    Raises ValueError that names the value and what is allowed.

    >>> RunConfig(data="digits", model="lenet-300-100", method="magnitude", sparsity=0.5).recovery
    'finetune'
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    data: str
    model: str
    method: str = DENSE
    sparsity: float = Field(0.0, ge=0, lt=1)
    scope: Literal["layerwise", "global", "erk"] | None = None
    schedule: Literal["one-shot", "iterative", "gradual"] = "one-shot"
    rounds: int = Field(1, ge=1)
    recovery: Literal["none", "finetune", "rewind", "lr-rewind", "scratch-e", "scratch-b"] = "finetune"
    epochs: int = Field(15, ge=1)
    recovery_epochs: int = Field(5, ge=1)
    rewind_epoch: int = Field(1, ge=0)
    lr: float = Field(0.1, gt=0)
    recovery_lr: float = Field(0.02, gt=0)
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr_schedule: Literal["one-cycle", "cosine", "step", "constant"] = "one-cycle"
    batch_size: int = Field(32, ge=2)
    weight_decay: float = Field(5e-4, ge=0)
    evidence: int = Field(250, ge=1)
    layer: str | None = None
    ticket: Literal[TICKETS] = TICKETS[0]
    seed: int = Field(0, ge=0)
    device: str = "cpu"
    profile: str = "custom"

    @model_validator(mode="before")
    @classmethod
    def _known_fields(cls, values: dict) -> dict:
        for name in set(values) - set(cls.model_fields):
            near = difflib.get_close_matches(name, cls.model_fields, 3, 0.4)
            raise ValueError(f"unknown field {name!r}; near: {', '.join(near) or 'none'}; "
                             f"allowed: {', '.join(cls.model_fields)}")  # fmt: skip
        return values

    @field_validator("data")
    @classmethod
    def _known_data(cls, value: str) -> str:
        return value if value == STORIES else data.check(value)

    @field_validator("model")
    @classmethod
    def _known_model(cls, value: str) -> str:
        return value if value == STORIES else models.check(value)

    @field_validator("method")
    @classmethod
    def _known_method(cls, value: str) -> str:
        if value != DENSE:
            find(value)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> RunConfig:
        for problem in self._contradictions():
            raise ValueError(problem)
        if self.row:
            check_pattern(self.row, self.sparsity)
        return self

    def _contradictions(self) -> Iterator[str]:
        if self.method == DENSE and (self.sparsity or self.schedule != "one-shot"):
            yield f"dense is the baseline: sparsity 0, schedule one-shot; got {self.sparsity} {self.schedule}"
        if self.schedule == "one-shot" and self.rounds > 1:
            yield f"one-shot has one round, got rounds={self.rounds}; choose schedule iterative or gradual"
        if self.recovery.startswith("scratch") and self.schedule != "one-shot":
            yield f"{self.recovery} trains the final shape once: schedule one-shot; got {self.schedule}"
        if self.row and self.row.when in ("before", "during") and self.recovery.endswith("rewind"):
            yield f"{self.method} starts from new weights, nothing to rewind to; got {self.recovery}"
        if self.row and self.row.when == "before" and self.schedule != "one-shot":
            yield f"{self.method} prunes before training: schedule one-shot; got {self.schedule}"
        if self.ticket != "original" and not self._has_ticket():
            yield (f"ticket {self.ticket} needs single weights masked before training, or recovery rewind; got "
                   f"{self.method} with {self.recovery}")  # fmt: skip
        if (self.data == STORIES) != (self.model == STORIES):
            yield f"{STORIES} is data and model at once; got data {self.data}, model {self.model}"
        if self.data == STORIES and not self._is_pretrained():
            yield (f"{STORIES} is not trained here: a method that acts after training, one-shot, recovery none; "
                   f"got {self.method} {self.schedule} {self.recovery}")  # fmt: skip
        if self.rewind_epoch >= self.epochs:
            yield f"rewind_epoch must lie before epochs={self.epochs}, got {self.rewind_epoch}"

    def _has_ticket(self) -> bool:
        single = self.row is not None and self.row.structure != "structured"
        return single and (self.row.when == "before" or self.recovery == "rewind")

    def _is_pretrained(self) -> bool:
        early = self.row is not None and self.row.when in ("before", "during")
        return not early and self.schedule == "one-shot" and self.recovery == "none"

    @cached_property
    def row(self) -> Method | None:
        """The method's row of the catalogue; None for the dense baseline."""
        return None if self.method == DENSE else find(self.method)

    def key(self) -> str:
        """Name of the run: a hash of all fields, the schema number and the method's version."""
        version = self.row.version if self.row else 1
        return _hash(self.model_dump() | {"schema": SCHEMA, "version": version})

    def dense_key(self) -> str:
        """Name of the dense checkpoint: the same for all methods of a seed."""
        return _hash(self.model_dump(include=set(DENSE_FIELDS)) | {"schema": SCHEMA})


def _hash(fields: dict) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]
