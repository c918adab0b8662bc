"""Fields of a run, each allowed by itself, that say against each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from survey_lib.experiment.runs.tickets import after_rounds

if TYPE_CHECKING:
    from survey_lib.experiment.runs.config import RunConfig

DENSE = "dense"
STORIES = "stories260K"  # data and model at once: a pretrained language model, nothing is trained


def contradictions(run: RunConfig) -> Iterator[str]:
    """What is wrong, one sentence each, with what would be right; nothing for a run that can be done."""
    yield from _of_dense(run)
    yield from _of_rounds(run)
    yield from _of_masks_and_cuts(run)
    yield from _of_stories(run)


def _of_dense(run: RunConfig) -> Iterator[str]:
    if run.method != DENSE:
        return
    if run.sparsity or run.schedule != "one-shot" or run.macs or run.when:
        yield f"dense is the baseline: sparsity 0, schedule one-shot; got {run.sparsity} {run.schedule}"
    if run.recovery not in ("none", "finetune", "lr-rewind"):
        yield f"dense is trained longer by recovery finetune or lr-rewind, or none; got {run.recovery}"


def _of_rounds(run: RunConfig) -> Iterator[str]:
    if run.schedule == "one-shot" and run.rounds > 1:
        yield f"one-shot has one round, got rounds={run.rounds}; choose schedule iterative"
    if run.recovery.startswith("scratch") and run.schedule != "one-shot":
        yield f"{run.recovery} trains the final shape once: schedule one-shot; got {run.schedule}"
    if run.early and run.recovery.endswith("rewind"):
        yield f"{run.method} starts from new weights, nothing to rewind to; got {run.recovery}"
    if run.early == "before" and run.schedule != "one-shot":
        yield f"{run.method} prunes before training: schedule one-shot; got {run.schedule}"
    rewinds = run.schedule == "iterative" and (run.rate or run.rounds > 1) and run.recovery.endswith("rewind")
    if run.row and run.row.schedule == "iterative" and run.row.when == "after" and not rewinds:
        yield (
            f"{run.method} prunes in rounds and rewinds after each: schedule iterative, rounds of at least 2, "
            f"recovery rewind or lr-rewind; got {run.schedule}, {run.rounds}, {run.recovery}"
        )
    if run.when and _in_training(run):
        yield f"when: before is for methods that act after training; {run.method} acts {run.row.when} it anyway"
    if run.rewind_epoch >= run.epochs and run.recovery.endswith("rewind"):
        yield (
            f"rewind_epoch must lie before epochs={run.epochs}, got {run.rewind_epoch} (1 unless you set it); "
            f"write rewind_epoch: {run.epochs - 1}"
        )
    if run.rate and (run.schedule != "iterative" or run.sparsity != after_rounds(run.rate, run.rounds)):
        yield (
            f"rate {run.rate} for {run.rounds} rounds is schedule iterative and sparsity "
            f"{after_rounds(run.rate, run.rounds)}; got {run.schedule} {run.sparsity}"
        )


def _in_training(run: RunConfig) -> bool:
    return run.row is not None and run.row.when in ("before", "during")


def _of_masks_and_cuts(run: RunConfig) -> Iterator[str]:
    layerwise = run.masks and (run.scope or run.row.scope) == "layerwise"
    if run.output_rate and not (run.rate and layerwise and not run.layer):
        yield "output_rate needs rate, scope layerwise, and a method that masks all layers"
    if run.ticket != "original" and not (run.masks and (run.early == "before" or run.recovery == "rewind")):
        yield (
            f"ticket {run.ticket} needs single weights masked before training, or recovery rewind; got "
            f"{run.method} with {run.recovery}"
        )
    if run.macs and (run.masks or run.sparsity or run.schedule != "one-shot"):
        yield f"macs is for a structured method, one-shot, without sparsity; got {run.method} {run.sparsity}"


def _of_stories(run: RunConfig) -> Iterator[str]:
    if (run.data == STORIES) != (run.model == STORIES):
        yield f"{STORIES} is data and model at once; got data {run.data}, model {run.model}"
    if run.data == STORIES and (_in_training(run) or run.schedule != "one-shot" or run.recovery != "none"):
        yield (
            f"{STORIES} is not trained here: a method that acts after training, one-shot, recovery none; "
            f"got {run.method} {run.schedule} {run.recovery}"
        )
    if run.data == STORIES and run.later:
        yield f"{STORIES} is pruned without {', '.join(run.later)}; leave them out"
