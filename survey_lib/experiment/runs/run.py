"""run(config) -> record: the only place that knows the order of things."""

from __future__ import annotations

import copy
import math
import time
import warnings
from pathlib import Path

import torch
from torch import nn

from survey_lib.chain import during
from survey_lib.chain.evidence import groups as observe_groups
from survey_lib.chain.surgery import cut as surgery
from survey_lib.chain.masks import apply, overall_sparsity
from survey_lib.chain.selection import round_sparsities
from survey_lib.experiment.data import loaders as data_sets
from survey_lib.experiment.sweeps import store
from survey_lib.experiment.runs.checkpoint import Dense, dense, fresh
from survey_lib.experiment.runs.config import DENSE, STORIES, RunConfig
from survey_lib.experiment.runs.environment import one_thread
from survey_lib.experiment.runs.run_state import Journey
from survey_lib.experiment.runs.record import finished, finished_stories
from survey_lib.experiment.runs.stories import prune_stories
from survey_lib.experiment.runs.tickets import shuffled
from survey_lib.measure import measure
from survey_lib.prune import prune

EVIDENCE_BATCH = 50
WITHOUT_DATA = {*observe_groups.STATIC, "flow"}  # evidence that costs no training examples
NEW_WEIGHTS = 1_000_003  # added to the seed: weights that no run of a study starts from


def run(config: RunConfig, cache: str | Path | None = None) -> dict:
    """Do one run and return its record, plain data ready for the store.

    `cache` is the folder of dense checkpoints (by default in the runs folder), shared by all methods of a
    seed. Equal configs give equal metrics, to the last bit on one machine, whatever ran before.
    Raises what goes wrong; a sweep turns that into a record of status `failed`.
    """
    with one_thread(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        if config.data == STORIES:
            return finished_stories(config, prune_stories(config), _messages(caught))
        data = data_sets.shared(config.data, config.device)
        baseline = dense(config, data, Path(cache or store.runs_folder() / "checkpoints"))
        journey = _start(config, data, baseline)
        if config.method != DENSE:
            _prune_and_recover(journey)
        elif config.recovery == "finetune":  # the control "train longer": the same budget, nothing pruned
            journey.train("recovery", config.recovery_epochs, config.recovery_lr)
        return finished(journey, _messages(caught))


def _messages(caught: list[warnings.WarningMessage]) -> list[str]:
    return sorted({str(warning.message) for warning in caught})


def _start(config: RunConfig, data: data_sets.Data, baseline: Dense) -> Journey:
    """The trained network; the untrained one for methods that prune before or during training."""
    row = config.row
    early = row is not None and row.when in ("before", "during")
    model = fresh(config, data, config.seed) if early else copy.deepcopy(baseline.model)
    journey = Journey(config, data, baseline, model)
    if not early:
        journey.curve += [{"stage": "dense"} | point for point in baseline.curve]
        journey.charge("dense", config.epochs, config.epochs * len(data.train[1]), baseline.seconds)
    return journey


def _prune_and_recover(journey: Journey) -> None:
    config, row = journey.config, journey.config.row
    if row.during:
        _train_sparsely(journey)
    done = 0.0
    steps = round_sparsities(config.schedule, config.sparsity, config.rounds)
    for sparsity in steps:
        if row.score or row.solve:
            _prune(journey, sparsity, done)
        last = sparsity == steps[-1]
        if last:
            _change_ticket(journey)
        trained_later = row.when == "before" or config.recovery != "none"
        journey.pruned = copy.deepcopy(journey.model) if trained_later else journey.model
        if row.when == "before":
            journey.train("training", config.epochs, config.lr)
        _recover(journey, last)
        done = sparsity


def _change_ticket(journey: Journey) -> None:
    """The final mask with its places or its weights drawn anew; a rewind puts its own weights in later."""
    config = journey.config
    if config.ticket == "shuffled":
        journey.masks = shuffled(journey.masks, config.seed)
    if config.ticket != "original":
        first = fresh(config, journey.data, config.seed).state_dict()
        journey.model = _rebuilt(journey, None if config.ticket == "reinitialised" else first)


def _train_sparsely(journey: Journey) -> None:
    """The stage in which training-time methods act. What they masked stays masked, or is cut out next."""
    config, sessions = journey.config, []
    steps = config.epochs * math.ceil(len(journey.data.train[1]) / config.batch_size)

    def begin(optimizer: torch.optim.Optimizer) -> None:
        sessions.append(during.start(journey.model, config.row, config.sparsity, optimizer, steps,
                                     example=journey.example, seed=config.seed))  # fmt: skip

    journey.train("sparsity training", config.epochs, config.lr, session=begin)
    masks = sessions[0].finish()
    if not config.row.score:
        journey.masks, journey.sparsity = masks, overall_sparsity(masks)


def _prune(journey: Journey, sparsity: float, done: float) -> None:
    """One round: collect, score, select, apply or cut. A cut network is smaller, so the next round asks
    for its share of what is left."""
    config, row = journey.config, journey.config.row
    started, structured = time.perf_counter(), row.structure == "structured"
    result = prune(
        journey.model, config.method, 1 - (1 - sparsity) / (1 - done) if structured else sparsity,
        example=journey.example, batches=_evidence(journey), scope=config.scope,
        layers=[config.layer] if config.layer else None, masks=None if structured else journey.masks,
        seed=config.seed,
    )  # fmt: skip
    looked = config.evidence if set(row.needs) - WITHOUT_DATA else 0
    journey.charge("pruning", 0, looked, time.perf_counter() - started)
    journey.model, journey.skipped = result.model, result.skipped
    journey.reports.append(result.report)
    if structured:
        journey.plans.append(result.plan)
        journey.sparsity = 1 - (1 - journey.sparsity) * (1 - result.sparsity)
    else:
        journey.masks, journey.sparsity = result.masks, result.sparsity


def _evidence(journey: Journey) -> list[data_sets.Split]:
    """The training examples a method may look at: the first `evidence` of a seeded order, as they are."""
    x, y = journey.data.train
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(journey.config.seed))
    chosen = order[: journey.config.evidence].to(y.device)
    return [(x[part], y[part]) for part in chosen.split(EVIDENCE_BATCH)]


def _recover(journey: Journey, last: bool) -> None:
    """Train the pruned network again, in one of the ways that papers differ in (case B15)."""
    config = journey.config
    if config.recovery == "finetune":
        journey.train("recovery", config.recovery_epochs, config.recovery_lr)
    elif config.recovery in ("rewind", "lr-rewind"):
        if config.recovery == "rewind":
            reinitialise = last and config.ticket == "reinitialised"
            journey.model = _rebuilt(journey, None if reinitialise else journey.dense.rewind)
        journey.train("recovery", config.epochs, config.lr, first_epoch=config.rewind_epoch)
    elif config.recovery in ("scratch-e", "scratch-b"):
        epochs = config.epochs if config.recovery == "scratch-e" else _same_macs(journey)
        journey.model = _rebuilt(journey, None)
        journey.train("recovery", epochs, config.lr)


def _rebuilt(journey: Journey, state: dict[str, torch.Tensor] | None) -> nn.Module:
    """The pruned shape with other weights: those of `state`, or new ones of another seed."""
    model = fresh(journey.config, journey.data, journey.config.seed + NEW_WEIGHTS)
    if state is not None:
        model.load_state_dict(state)
    for plan in journey.plans:
        model = surgery.replay(model, plan)
    return apply(model, journey.masks)


def _same_macs(journey: Journey) -> int:
    """Epochs that cost the pruned network what dense training cost, at most twice (liu2019rethinking)."""
    pruned, full = (measure(model, journey.example) for model in (journey.model, journey.dense.model))
    return round(journey.config.epochs * min(2.0, full["macs"] / max(pruned["nonzero_macs"], 1)))
