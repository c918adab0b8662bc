"""run(config) -> record: the only place that knows the order of things."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from survey_lib.chain.evidence import groups as observe_groups
from survey_lib.chain.masks import Masks, overall_sparsity, prunable
from survey_lib.chain.training import during
from survey_lib.experiment.data.loaders import Data
from survey_lib.experiment.environment import one_thread
from survey_lib.experiment.runs.checkpoint import Dense, data_of, dense, fresh, recipe
from survey_lib.experiment.runs.config import DENSE, STORIES, RunConfig
from survey_lib.experiment.runs.record import finished, finished_stories, recalibrated
from survey_lib.experiment.runs.run_state import Journey
from survey_lib.experiment.runs.stories import prune_stories
from survey_lib.experiment.runs.tickets import after_rounds, barrier, blend, shuffled
from survey_lib.experiment.runs.train import evaluate, fit
from survey_lib.experiment.sweeps import store
from survey_lib.measure import measure
from survey_lib.measure.training_costs import Meter, stopwatch
from survey_lib.prune import prune

WITHOUT_DATA = {*observe_groups.STATIC, "flow"}  # evidence that costs no training examples
OTHER_ORDER = 2_000_003  # added to the seed: an order of batches that no run of a study has
PATH = 11  # points on the line between two solutions, both ends included


class Refused(ValueError):
    """A run that is not done, however often it is tried: its mask leaves a layer empty, or it cannot be so small."""


def run(config: RunConfig, cache: str | Path | None = None) -> dict:
    """Do one run and return its record, plain data ready for the store.

    `cache` is the folder of dense checkpoints (by default in the runs folder), shared by all methods of a
    seed. Equal configs give equal metrics, to the last bit on one machine, whatever ran before.
    Raises what goes wrong, `Refused` for a mask that leaves a layer empty; a sweep turns both into records.
    """
    records: list[dict] = []
    run_chain([config], records.append, cache)
    return records[0]


def run_chain(
    configs: Sequence[RunConfig], write: Callable[[dict], None], cache: str | Path | None = None
) -> None:
    """Do runs of one chain, which differ in their rounds and ticket alone (`RunConfig.chain_key`), with each round
    computed once. The record of each, equal to what `run` returns, is written as soon as its round is done."""
    longest = max(configs, key=lambda config: config.rounds)
    with one_thread(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        if longest.data == STORIES:
            write(finished_stories(longest, prune_stories(longest), _messages(caught)))
            return
        data = data_of(longest)
        baseline = dense(longest, data, Path(cache or store.runs_folder() / "checkpoints"))
        trunk = longest.model_copy(
            update={"ticket": "original"}
        )  # other tickets part from it in their last round
        journey = _start(trunk, data, baseline)
        for end in _walk(journey, configs):
            if end.config.connect:
                end.path = _path(end)
            write(finished(end, _messages(caught)))


def _messages(caught: list[warnings.WarningMessage]) -> list[str]:
    return sorted({str(warning.message) for warning in caught})


def _start(config: RunConfig, data: Data, baseline: Dense) -> Journey:
    """The trained network; the untrained one for methods that prune before or during all of the training."""
    if config.early:
        return Journey(config, data, baseline, fresh(config, data, config.seed))
    as_it_is = config.method == DENSE and config.recovery == "none"
    journey = Journey(config, data, baseline, baseline.model if as_it_is else copy.deepcopy(baseline.model))
    journey.curve += [{"stage": "dense"} | point for point in baseline.curve]
    journey.charge("dense", config.epochs, config.epochs * len(data.train[1]), baseline.spent)
    return journey


def _walk(journey: Journey, configs: Sequence[RunConfig]) -> Iterator[Journey]:
    """Prune and train, round by round; at each round that a config ends with, the journey of that config."""
    row, rounds = journey.config.row, journey.config.rounds
    if row is None:
        _recover(journey)
        yield journey
        return
    if row.during:
        _train_sparsely(journey)
    for number in range(1, rounds + 1):
        if row.score or row.solve or row.ranking:
            _prune(journey, number)
        _refuse_empty_layers(journey)
        ending = [config for config in configs if config.rounds == number]
        for config in ending:
            if config.ticket != "original":
                branch = journey.branch(config)
                _change_ticket(branch)
                _train_and_recover(branch)
                yield branch
        originals = [config for config in ending if config.ticket == "original"]
        if originals or number < rounds:
            _train_and_recover(journey)
        yield from (replace(journey, config=config) for config in originals)


def _refuse_empty_layers(journey: Journey) -> None:
    empty = [name.removesuffix(".weight") for name, mask in journey.masks.items() if not mask.any()]
    if empty:
        config = journey.config
        raise Refused(
            f"{config.method} at sparsity {journey.sparsity:.4g} leaves nothing of {', '.join(empty)}: "
            "a network cut in two is no result; protect: ends keeps the first and last layer"
        )


def _train_and_recover(journey: Journey) -> None:
    config = journey.config
    trained_later = config.early == "before" or config.recovery != "none"
    journey.pruned = copy.deepcopy(journey.model) if trained_later else journey.model
    if config.early == "before":
        journey.train("training", config.epochs, config.lr)
    _recover(journey)


def _change_ticket(journey: Journey) -> None:
    """The final mask permuted, or with new weights; a rewind puts its own weights in later."""
    config = journey.config
    if config.ticket == "shuffled":
        journey.masks = shuffled(journey.masks, config.seed)
    first = fresh(config, journey.data, config.seed).state_dict()
    journey.model = journey.rebuilt(None if config.ticket == "reinitialised" else first)


def _train_sparsely(journey: Journey) -> None:
    """The stage in which training-time methods act. What they masked stays masked, or is cut out next."""
    config, meters = journey.config, []
    steps = config.epochs * math.ceil(len(journey.data.train[1]) / config.batch_size)
    ((_, sparsity),) = _asked(journey, 1)

    def begin(optimizer: torch.optim.Optimizer) -> None:
        meters.append(Meter(journey.model, journey.example, optimizer))
        meters[0].session = during.start(
            journey.model, config.row, sparsity, optimizer, steps, example=journey.example, seed=config.seed
        )

    lr = config.recovery_lr if config.row.pretrained else config.lr
    journey.train("sparsity training", config.epochs, lr, session=begin)
    journey.ledger[-1]["nonzero_training_macs"] = journey.ledger[-1]["examples"] * meters[0].average
    masks = meters[0].session.finish()
    if not (config.row.score or config.row.ranking):
        journey.masks, journey.sparsity = masks, overall_sparsity(masks)


def _asked(journey: Journey, number: int) -> list[tuple[list[str] | None, float]]:
    """Layers (None: all) and the sparsity they are pruned to in a round. A cut network is smaller, so the next
    round asks for its share of what is left."""
    config, steps = journey.config, [0.0, *journey.config.steps()]
    if config.macs:
        return [(None, _sparsity_for_macs(journey))]
    if not config.masks:
        return [([config.layer] if config.layer else None, 1 - (1 - steps[number]) / (1 - steps[number - 1]))]
    if config.output_rate:
        *others, last = _layers(journey)
        return [(others, steps[number]), ([last], after_rounds(config.output_rate, number))]
    return [([config.layer] if config.layer else None, steps[number])]


def _layers(journey: Journey) -> list[str]:
    return [name.rpartition(".")[0] for name in prunable(journey.model)]


def _prune(journey: Journey, number: int) -> None:
    """One round: collect, score, select, apply or cut."""
    config, row = journey.config, journey.config.row
    read, reports = stopwatch(), []
    for layers, sparsity in _asked(journey, number):
        result = _pruned(journey, layers, sparsity)
        journey.model = result.model
        journey.skipped = [] if config.output_rate else result.skipped
        reports.append(result.report)
        if config.masks:
            journey.masks = journey.masks | result.masks
            journey.sparsity = overall_sparsity(journey.masks)
        else:
            journey.plans.append(result.plan)
            journey.sparsity = 1 - (1 - journey.sparsity) * (1 - result.sparsity)
    journey.reports.append(pd.concat(reports))
    looked = config.evidence if set(row.needs) - WITHOUT_DATA else 0
    journey.charge("pruning", 0, looked, read())


def _pruned(journey: Journey, layers: list[str] | None, sparsity: float):
    config = journey.config
    return prune(
        journey.model,
        config.row.ranking or config.method,
        sparsity,
        example=journey.example,
        batches=journey.training_images(config.evidence),
        scope=config.scope or config.row.scope,
        layers=layers,
        protect=_layers(journey)[:: len(_layers(journey)) - 1] if config.protect == "ends" else (),
        masks=_of(journey.masks, layers) if config.masks else None,
        seed=config.seed,
    )


def _of(masks: Masks, layers: list[str] | None) -> Masks:
    return (
        masks
        if layers is None
        else {name: mask for name, mask in masks.items() if name.rpartition(".")[0] in layers}
    )


def _sparsity_for_macs(journey: Journey) -> float:
    """The least sparsity, to 1/256, that leaves no more than the asked share of the dense MACs."""
    allowed = journey.config.macs * measure(journey.dense.model, journey.example)["macs"]
    low, high = 0.0, 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(8):
            middle = (low + high) / 2
            model = _pruned(journey, None, middle).model
            fits = measure(model, journey.example)["macs"] <= allowed
            low, high = (low, middle) if fits else (middle, high)
    if high == 1:
        raise Refused(
            f"{journey.config.method} cannot come down to {journey.config.macs:.0%} of the dense MACs"
        )
    return high


def _recover(journey: Journey) -> None:
    """Train the pruned network again, in one of the ways that papers differ in (case B15)."""
    config = journey.config
    if config.recovery == "finetune":
        journey.train("recovery", config.recovery_epochs, config.recovery_lr)
    elif config.recovery in ("rewind", "lr-rewind"):
        if config.recovery == "rewind":
            journey.model = _rewound(journey)
        journey.train("recovery", config.epochs, config.lr, first_epoch=config.rewind_epoch)
    elif config.recovery in ("scratch-e", "scratch-b"):
        epochs = config.epochs if config.recovery == "scratch-e" else _same_macs(journey)
        journey.model = journey.rebuilt(None)
        journey.train("recovery", epochs, config.lr)


def _rewound(journey: Journey):
    return journey.rebuilt(None if journey.config.ticket == "reinitialised" else journey.dense.rewind)


def _same_macs(journey: Journey) -> int:
    """Epochs that cost the pruned network what dense training cost, at most twice as many (liu2019rethinking)."""
    pruned, full = (measure(model, journey.example) for model in (journey.model, journey.dense.model))
    times = full["macs"] / max(pruned["nonzero_macs"], 1)
    if times > 2:
        warnings.warn(
            f"scratch-b trains twice the epochs; equal MACs would be {times:.2f} times", stacklevel=2
        )
    return round(journey.config.epochs * min(2.0, times))


def _path(journey: Journey) -> dict:
    """Linear mode connectivity (Frankle et al. 2020): the same start trained with its batches in another order,
    and the test accuracy on the straight line between the two, with new batch-norm statistics at each point."""
    config, twin = journey.config, _rewound(journey)
    order = {"seed": config.seed + OTHER_ORDER}
    fit(
        twin,
        journey.data,
        epochs=config.epochs,
        lr=config.lr,
        first_epoch=config.rewind_epoch,
        masks=journey.masks,
        **recipe(config) | order,
    )
    mixed = (recalibrated(blend(journey.model, twin, k / (PATH - 1)), journey) for k in range(PATH))
    accuracies = [evaluate(model, journey.data.test)["accuracy"] for model in mixed]
    return {"accuracy": accuracies, "barrier": barrier(accuracies)}
