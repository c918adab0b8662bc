"""run(config) -> record: the only place that knows the order of things."""

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from survey_lib.catalogue import WITHOUT_DATA
from survey_lib.chain.masks import overall_sparsity, prunable
from survey_lib.experiment.data.loaders import Data
from survey_lib.experiment.runs.checkpoint import Dense, data_of, dense, fresh
from survey_lib.experiment.runs.config import STORIES, RunConfig, after_rounds
from survey_lib.experiment.runs.record import RunState, record
from survey_lib.experiment.runs.stories import run_stories
from survey_lib.experiment.runs.tickets import shuffled
from survey_lib.experiment.runs.train import one_thread
from survey_lib.experiment.sweeps import store
from survey_lib.measure import measure, stopwatch
from survey_lib.measure.counts import Meter
from survey_lib.prune import during, prune
from survey_lib.steps.request import BudgetNotMet


class Refused(ValueError):
    """A run that is not done, however often it is tried.

    Its mask leaves a layer empty, or it cannot be so small.
    """


def run(config: RunConfig, cache: str | Path | None = None) -> dict:
    """Do one run and return its record, plain data ready for the store.

    Equal configs have equal metrics, to the last bit on one machine, whatever ran before. What goes wrong is
    raised; a sweep turns it into a record.

    Parameters
    ----------
    config : RunConfig
        Config of the run.
    cache : str | Path, optional
        Folder of dense checkpoints (by default in the runs folder), shared by all methods of a seed.

    Raises
    ------
    Refused
        For a mask that leaves a layer empty.
    """
    records: list[dict] = []
    run_chain([config], records.append, cache)
    return records[0]


def run_chain(
    configs: Sequence[RunConfig], write: Callable[[dict], None], cache: str | Path | None = None
) -> None:
    """Do runs of one chain with each round computed once.

    They differ in their rounds and ticket alone (`RunConfig.chain_key`). The record of each, equal to what
    `run` returns, is written as soon as its round is done.

    Parameters
    ----------
    configs : Sequence[RunConfig]
        Configs of the runs.
    write : Callable[[dict], None]
        Is called with each record.
    cache : str | Path, optional
        Folder of dense checkpoints.
    """
    with one_thread(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        for found in _records(configs, Path(cache or store.runs_folder() / "checkpoints")):
            write(found | {"warnings": sorted({str(warning.message) for warning in caught})})


def _records(configs: Sequence[RunConfig], cache: Path) -> Iterator[dict]:
    longest = max(configs, key=lambda config: config.rounds)
    if longest.data == STORIES:
        yield run_stories(longest)
        return
    data = data_of(longest)
    # Other tickets part from it in their last round
    trunk = longest.model_copy(update={"ticket": "original"})
    state = _start(trunk, data, dense(longest, data, cache))
    yield from map(record, _walk(state, configs))


def _start(config: RunConfig, data: Data, baseline: Dense) -> RunState:
    """The trained network; the untrained one for methods that prune before or during all of the training."""
    if config.early:
        return RunState(config, data, baseline, fresh(config, data, config.seed))
    state = RunState(config, data, baseline, copy.deepcopy(baseline.model))
    state.curve += [{"stage": "dense"} | point for point in baseline.curve]
    state.charge("dense", config.epochs, config.epochs * len(data.train[1]), baseline.spent)
    return state


def _walk(state: RunState, configs: Sequence[RunConfig]) -> Iterator[RunState]:
    """Prune and train, round by round; at each round that a config ends with, the state of that config."""
    row, rounds = state.config.row, state.config.rounds
    if row and row.during:
        _train_sparsely(state)
    for number in range(1, rounds + 1):
        if row and (row.score or row.solve or row.ranking):
            _prune(state, number)
        _refuse_empty_layers(state)
        ending = [config for config in configs if config.rounds == number]
        originals = [config for config in ending if config.ticket == "original"]
        yield from (_other_ticket(state, config) for config in ending if config not in originals)
        if originals or number < rounds:
            _recover(state)
        yield from (replace(state, config=config) for config in originals)


def _refuse_empty_layers(state: RunState) -> None:
    empty = [name.removesuffix(".weight") for name, mask in state.masks.items() if not mask.any()]
    if empty:
        config = state.config
        what = f"{config.method} at sparsity {state.sparsity:.4g} leaves nothing of {', '.join(empty)}"
        raise Refused(f"{what}: a network cut in two is no result")


def _other_ticket(state: RunState, config: RunConfig) -> RunState:
    """The state of a config whose final mask is permuted, or has new weights; a rewind puts its own in later."""
    other = replace(state, config=config, curve=[*state.curve], ledger=[*state.ledger])
    if config.ticket == "shuffled":
        other.masks = shuffled(state.masks, config.seed)
    first = fresh(config, state.data, config.seed).state_dict()
    other.model = other.rebuilt(None if config.ticket == "reinitialised" else first)
    _recover(other)
    return other


def _train_sparsely(state: RunState) -> None:
    """The stage in which training-time methods act. What they masked stays masked, or is cut out next."""
    config, meters = state.config, []
    steps = config.epochs * math.ceil(len(state.data.train[1]) / config.batch_size)
    ((layers, sparsity),) = _asked(state, 1)
    if config.macs:  # the session must know how much will go: what its ranking would cut right now
        sparsity = _pruned(state, layers, sparsity).sparsity

    def begin(optimizer: torch.optim.Optimizer) -> None:
        meters.append(Meter(state.model, state.example, optimizer))
        meters[0].session = during(
            state.model, config.method, sparsity, optimizer, steps, example=state.example, seed=config.seed
        )

    lr = config.recovery_lr if config.row.pretrained else config.lr
    state.train("sparsity training", config.epochs, lr, session=begin)
    state.ledger[-1]["nonzero_training_macs"] = state.ledger[-1]["examples"] * meters[0].average
    masks = meters[0].session.finish()
    if not (config.row.score or config.row.ranking):
        state.masks, state.sparsity = masks, overall_sparsity(masks)


def _asked(state: RunState, number: int) -> list[tuple[list[str] | None, float | None]]:
    """Layers (None: all) and the sparsity they are pruned to in a round (None: the budget of MACs decides).

    A cut network is smaller, so the next round asks for its share of what is left.
    """
    config, steps = state.config, [0.0, *state.config.steps()]
    if config.macs:
        return [(None, None)]
    if config.output_rate:
        *others, last = (name.rpartition(".")[0] for name in prunable(state.model))
        return [(others, steps[number]), ([last], after_rounds(config.output_rate, number))]
    share = 1 - (1 - steps[number]) / (1 - steps[number - 1])
    return [([config.layer] if config.layer else None, steps[number] if config.masks else share)]


def _prune(state: RunState, number: int) -> None:
    """One round: collect, score, select, apply or cut."""
    config, row = state.config, state.config.row
    read, reports = stopwatch(), []
    for layers, sparsity in _asked(state, number):
        try:
            result = _pruned(state, layers, sparsity)
        except BudgetNotMet as error:
            raise Refused(f"{config.method}: {error}") from error
        state.model = result.model
        state.skipped = [] if config.output_rate else result.skipped
        reports.append(result.report)
        if config.masks:
            state.masks = state.masks | result.masks
            state.sparsity = overall_sparsity(state.masks)
        else:
            state.plans.append(result.plan)
            state.sparsity = 1 - (1 - state.sparsity) * (1 - result.sparsity)
    state.reports.append(pd.concat(reports))
    looked = config.evidence if set(row.needs) - WITHOUT_DATA else 0
    state.charge("pruning", 0, looked, read())


def _pruned(state: RunState, layers: list[str] | None, sparsity: float | None):
    config = state.config
    return prune(
        state.model,
        config.row.ranking or config.method,
        sparsity,
        macs=config.macs,
        example=state.example,
        batches=state.training_images(config.evidence),
        scope=config.scope or config.row.scope,
        layers=layers,
        masks={n: m for n, m in state.masks.items() if layers is None or n.rpartition(".")[0] in layers},
        seed=config.seed,
    )


def _recover(state: RunState) -> None:
    """Train the pruned network, in one of the ways that papers differ in (case B15)."""
    config = state.config
    trained_later = config.early == "before" or config.recovery != "none"
    state.pruned = copy.deepcopy(state.model) if trained_later else state.model
    if config.early == "before":
        state.train("training", config.epochs, config.lr)
    if config.recovery == "finetune":
        state.train("recovery", config.recovery_epochs, config.recovery_lr)
    elif config.recovery.startswith("scratch"):
        epochs = config.epochs if config.recovery == "scratch-e" else _same_macs(state)
        state.model = state.rebuilt(None)
        state.train("recovery", epochs, config.lr)
    elif config.recovery != "none":
        if config.recovery == "rewind":
            state.model = state.rebuilt(None if config.ticket == "reinitialised" else state.dense.rewind)
        state.train("recovery", config.epochs, config.lr, first_epoch=config.rewind_epoch)


def _same_macs(state: RunState) -> int:
    """Epochs that cost the pruned network what dense training cost, at most twice as many (liu2019rethinking)."""
    pruned, full = (measure(model, state.example) for model in (state.model, state.dense.model))
    times = full["macs"] / max(pruned["nonzero_macs"], 1)
    if times > 2:
        warnings.warn(
            f"scratch-b trains twice the epochs; equal MACs would be {times:.2f} times", stacklevel=2
        )
    return round(state.config.epochs * min(2.0, times))
