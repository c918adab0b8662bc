"""What a run is: every choice that changes its result, checked before any work, hashed into its key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Literal

from pydantic import BaseModel, Field, model_validator

from survey_lib.catalogue import Method, check_pattern, find
from survey_lib.chain.selection import round_sparsities
from survey_lib.experiment.data import loaders as data
from survey_lib.experiment.networks import models
from survey_lib.lookup import known

DENSE = "dense"
STORIES = "stories260K"  # data and model at once: a pretrained language model, nothing is trained
SCHEMA = 2  # of records and keys: raise it when the meaning of a run changes
# Fields that runs no longer have, with the values of all published runs
RETIRED = {"connect": False, "distill": False, "protect": "none"}


class Trained(BaseModel, frozen=True, strict=True, extra="forbid", allow_inf_nan=False):
    """The fields that decide the dense network of a run; a few that came later are added below."""

    data: str
    model: str
    epochs: int = Field(15, ge=1)
    rewind_epoch: int = Field(1, ge=0)
    lr: float = Field(0.1, gt=0)
    optimizer: Literal["sgd", "heavy-ball", "adam", "adamw"] = "sgd"
    lr_schedule: Literal["one-cycle", "cosine", "step", "constant"] = "one-cycle"
    batch_size: int = Field(32, ge=2)
    weight_decay: float = Field(5e-4, ge=0)
    seed: int = Field(0, ge=0)
    device: str = "cpu"


class Frozen(Trained):
    """The fields that every key hashes.

    Any other field enters a key only where it differs from its default, so that a new field changes no key; its
    default must then stay as it is.
    """

    method: str = DENSE
    sparsity: float = Field(0.0, ge=0, lt=1)
    scope: Literal["layerwise", "global", "erk"] | None = None
    schedule: Literal["one-shot", "iterative"] = "one-shot"
    rounds: int = Field(1, ge=1)
    recovery: Literal["none", "finetune", "rewind", "lr-rewind", "scratch-e", "scratch-b"] = "finetune"
    recovery_epochs: int = Field(5, ge=1)
    recovery_lr: float = Field(0.02, gt=0)
    evidence: int = Field(250, ge=1)
    layer: str | None = None
    ticket: Literal["original", "shuffled", "reinitialised"] = "original"
    profile: str = "custom"


FROZEN = frozenset(Frozen.model_fields)
DENSE_FIELDS = {*Trained.model_fields, "init", "inputs", "validation", "track_test"}


class RunConfig(Frozen):
    """One run, frozen and hashable.

    Attributes
    ----------
    data : str
        A data set by name.
    model : str
        A model by name.
    method : str
        A name of the catalogue (`nm-magnitude:2:4` chooses a pattern), or `dense`, the baseline.
    sparsity : float
        Fraction of the method's units to remove, in [0, 1).
    macs : float | None
        In place of sparsity, for structured methods: the fraction of the dense MACs that may stay.
    scope : Literal['layerwise', 'global', 'erk'] | None
        layerwise, global or erk; None is the method's own.
    when : Literal['before'] | None
        before: choose the mask on the untrained network, then train; None is the method's own.
    schedule : Literal['one-shot', 'iterative']
        one-shot, or `rounds` rounds, each followed by the recovery.
    rounds : int
        Number of rounds.
    rate : float | None
        In place of sparsity, for iterative: the fraction of what is left that each round removes; runs
        that differ in their rounds alone are then computed as one chain.
    output_rate : float | None
        The rate of the last layer, where it has one of its own (Frankle and Carbin 2019: half).
    recovery : Literal['none', 'finetune', 'rewind', 'lr-rewind', 'scratch-e', 'scratch-b']
        None; finetune; rewind (weights and learning rate back to `rewind_epoch`); lr-rewind (learning
        rate only); scratch-e, scratch-b (new weights; same epochs, same MACs).
    epochs : int
        Epochs of dense training.
    lr : float
        Learning rate of dense training.
    recovery_epochs : int
        Recovery epochs of the recovery.
    recovery_lr : float
        Recovery lr of the recovery.
    evidence : int
        Training examples a method may look at when it scores.
    layer : str | None
        Prune this layer alone (a sensitivity scan); None prunes all.
    ticket : Literal['original', 'shuffled', 'reinitialised']
        original; shuffled (the mask's entries permuted in each layer); reinitialised (new weights).
    init : Literal['own', 'glorot', 'he']
        First weights: the layers' own, Glorot or He.
    inputs : Literal['normalised', 'unit']
        Images normalised, or left in [0, 1].
    validation : int | None
        Images held out for validation; None is the data set's own number.
    track_test : bool
        For replications: also measure test accuracy after every epoch; nothing is chosen by it.

    Raises
    ------
    ValueError
        For a value that is not allowed; the text names it and what is allowed.

    Examples
    --------
    >>> RunConfig(data="digits", model="lenet-300-100", method="magnitude", sparsity=0.5).recovery
    'finetune'
    >>> RunConfig(data="digits", model="lenet-5", method="imp", schedule="iterative", rounds=3, rate=0.2,
    ...           recovery="rewind").sparsity
    0.488
    """

    macs: float | None = Field(None, gt=0, le=1)
    when: Literal["before"] | None = None
    rate: float | None = Field(None, gt=0, lt=1)
    output_rate: float | None = Field(None, gt=0, lt=1)
    init: Literal["own", "glorot", "he"] = "own"
    inputs: Literal["normalised", "unit"] = "normalised"
    validation: int | None = Field(None, ge=10)
    track_test: bool = False

    @model_validator(mode="before")
    @classmethod
    def _known_fields(cls, values: dict) -> dict:
        for name in values:
            known("field", name, cls.model_fields)
        rate, rounds = values.get("rate"), values.get("rounds", 1)
        if isinstance(rate, float) and isinstance(rounds, int):
            values = {"sparsity": after_rounds(rate, rounds)} | values
        return values

    @model_validator(mode="after")
    def _consistent(self) -> RunConfig:
        for name, check in ((self.data, data.check), (self.model, models.check)):
            if name != STORIES:
                check(name)
        for problem in contradictions(self):
            raise ValueError(problem)
        if self.row and not self.macs:
            check_pattern(self.row, self.sparsity)
        return self

    @cached_property
    def row(self) -> Method | None:
        """The method's row of the catalogue; None for the dense baseline."""
        return None if self.method == DENSE else find(self.method)

    @property
    def in_training(self) -> bool:
        """Whether the method acts before or during training by itself."""
        return self.row is not None and self.row.when in ("before", "during")

    @property
    def early(self) -> str | None:
        """`before` or `during`, where the run begins with an untrained network; None where with a trained one."""
        return self.when or (self.row.when if self.in_training and not self.row.pretrained else None)

    @property
    def masks(self) -> bool:
        """Whether the method masks weights; other methods cut, and `dense` does neither."""
        return self.row is not None and self.row.structure != "structured"

    def steps(self) -> list[float]:
        """The sparsity after each round; those of a chain do not depend on how many rounds follow."""
        if self.rate:
            return [after_rounds(self.rate, k) for k in range(1, self.rounds + 1)]
        return round_sparsities(self.sparsity, self.rounds)

    @property
    def later(self) -> list[str]:
        """Fields that are not frozen and not at their default."""
        return sorted(identity(self.model_dump()).keys() - FROZEN)

    def key(self) -> str:
        """Name of the run: a hash of its choices, the schema number and the method's version."""
        return key_of(self.model_dump(), SCHEMA, self.row.version if self.row else 1)

    def chain_key(self) -> str:
        """The same for runs that differ only in how many rounds of one rate they do, and in their ticket."""
        fields = identity(self.model_dump())
        for name in ("rounds", "sparsity", "ticket") if self.rate else ():
            del fields[name]
        return digest(fields)

    def dense_key(self) -> str:
        """Name of the dense checkpoint: the same for all methods of a seed, on whatever device each runs."""
        anywhere = self.model_dump(include=DENSE_FIELDS) | {"device": "cpu"}
        return digest(identity(anywhere) | {"schema": SCHEMA})


def contradictions(run: RunConfig) -> Iterator[str]:
    """Fields, each allowed by itself, that say against each other: a sentence each, with what would be right."""
    if run.method == DENSE and (run.sparsity or run.schedule != "one-shot" or run.macs or run.when):
        yield f"dense is the baseline: sparsity 0, schedule one-shot; got {run.sparsity} {run.schedule}"
    if run.method == DENSE and run.recovery not in ("none", "finetune", "lr-rewind"):
        yield f"dense is trained longer by recovery finetune or lr-rewind, or none; got {run.recovery}"
    if run.when and run.in_training:
        yield f"when: before is for methods that act after training; {run.method} acts {run.row.when} it anyway"
    if run.macs and (run.masks or run.sparsity or run.schedule != "one-shot"):
        yield f"macs is for a structured method, one-shot, without sparsity; got {run.method} {run.sparsity}"
    if run.ticket != "original" and not (run.masks and (run.early == "before" or run.recovery == "rewind")):
        yield f"ticket {run.ticket} needs a mask of single weights, before training or with recovery rewind"
    yield from _of_rounds(run)
    yield from _of_stories(run)


def _of_rounds(run: RunConfig) -> Iterator[str]:
    once, rewinds = run.schedule == "one-shot", run.recovery.endswith("rewind")
    if once and run.rounds > 1:
        yield f"one-shot has one round, got rounds={run.rounds}; choose schedule iterative"
    if run.recovery.startswith("scratch") and not once:
        yield f"{run.recovery} trains the final shape once: schedule one-shot; got {run.schedule}"
    if run.early == "before" and not once:
        yield f"{run.method} prunes before training: schedule one-shot; got {run.schedule}"
    if run.early and rewinds:
        yield f"{run.method} starts from new weights, nothing to rewind to; got {run.recovery}"
    if rewinds and run.rewind_epoch >= run.epochs:
        yield (
            f"rewind_epoch must lie before epochs={run.epochs}, got {run.rewind_epoch} (1 unless you set it); "
            f"write rewind_epoch: {run.epochs - 1}"
        )
    in_rounds = run.row and run.row.schedule == "iterative" and not run.in_training
    if in_rounds and (once or not rewinds or not (run.rate or run.rounds > 1)):
        yield (
            f"{run.method} prunes in rounds and rewinds after each: schedule iterative, rounds of at least 2, "
            f"recovery rewind or lr-rewind; got {run.schedule}, {run.rounds}, {run.recovery}"
        )
    right = after_rounds(run.rate or 0.0, run.rounds)
    if run.rate and (once or run.sparsity != right):
        yield f"rate {run.rate} is schedule iterative and sparsity {right}; got {run.schedule} {run.sparsity}"
    layerwise = run.masks and (run.scope or run.row.scope) == "layerwise"
    if run.output_rate and not (run.rate and layerwise and not run.layer):
        yield "output_rate needs rate, scope layerwise, and a method that masks all layers"


def _of_stories(run: RunConfig) -> Iterator[str]:
    if (run.data == STORIES) != (run.model == STORIES):
        yield f"{STORIES} is data and model at once; got data {run.data}, model {run.model}"
    if run.data != STORIES:
        return
    if run.in_training or run.schedule != "one-shot" or run.recovery != "none":
        yield f"{STORIES} is not trained here: a method that acts after training, one-shot, recovery none"
    if run.later:
        yield f"{STORIES} is pruned without {', '.join(run.later)}; leave them out"


def after_rounds(rate: float, rounds: int) -> float:
    """The sparsity after rounds that each remove the same share, 1 − (1 − rate)^rounds.

    Rounded to six digits, so that every machine computes the same number.

    Parameters
    ----------
    rate : float
        Share of what is left that a round removes.
    rounds : int
        Number of rounds.

    Examples
    --------
    >>> after_rounds(0.2, 2)
    0.36
    """
    return round(1 - (1 - rate) ** rounds, 6)


def identity(config: Mapping) -> dict:
    """The fields that tell a config, as a record of any schema stores it, from others.

    These are the frozen ones, and later ones that are not the default.
    """
    fields = RunConfig.model_fields
    usual = {name: fields[name].default for name in fields.keys() - FROZEN} | RETIRED
    return {name: value for name, value in config.items() if name not in usual or value != usual[name]}


def key_of(config: Mapping, schema: int, version: int) -> str:
    """The key of a config's plain fields, as the record of any schema and version stores them.

    Parameters
    ----------
    config : Mapping
        Its fields.
    schema : int
        Schema of the record.
    version : int
        Version of the method.
    """
    return digest(identity(config) | {"schema": schema, "version": version})


def digest(fields: dict) -> str:
    """Sixteen hex digits of a hash of plain fields, whatever their order."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]
