"""Masks over weights and patterns: collect, score, select and apply, round by round."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from survey_lib.catalogue import Method
from survey_lib.chain.evidence import base as evidence
from survey_lib.chain.masks import Masks, apply, overall_sparsity, prunable
from survey_lib.chain.patterns import misfit, n_of_m, parse, pool, spread
from survey_lib.chain.selection import check_finite, round_sparsities, select
from survey_lib.steps.request import PruneResult, Request, choose, report_of

INPUTS = {"act_norm", "gram"}
WATCHED = (nn.Linear, nn.Conv1d, nn.Conv2d)  # not the projections inside attention and recurrent layers


def prune_weights(model: nn.Module, request: Request) -> PruneResult:
    method, names = request.method, list(prunable(model))
    owners = list(dict.fromkeys(map(_layer, names)))
    wanted = set(choose(owners, request.layers)) - set(choose(owners, request.protect or []))
    skipped = [(layer, "not among the layers asked for, or protected") for layer in owners if layer not in wanted]
    names = [name for name in names if _layer(name) in wanted]
    pruned = apply(copy.deepcopy(model), request.masks)
    reasons = {name: _unfit(model, name, method) for name in names}
    skipped += [(_layer(name), reason) for name, reason in reasons.items() if reason]
    names = [name for name in names if not reasons[name]]
    if not names:
        raise ValueError(f"{method.name} finds no layer to prune: " + "; ".join(f"{n}: {r}" for n, r in skipped))
    masks = dict(request.masks)
    for sparsity in round_sparsities(method.schedule, request.sparsity, method.rounds):
        found = evidence.collect(pruned, names, method.needs, request.batches, request.loss, request.seed,
                                 example=request.example, batch_statistics=method.when == "before")  # fmt: skip
        masks |= _weight_masks(pruned, found, sparsity, request, masks)
        apply(pruned, masks)
    rows = [(name.removesuffix(".weight"), masks[name].numel(), int(masks[name].sum()), name) for name in names]
    return PruneResult(pruned, masks, None, report_of(rows, request), overall_sparsity(masks), skipped)


def _unfit(model: nn.Module, name: str, method: Method) -> str:
    """Why a weight is left whole by this method; empty if it is not."""
    if INPUTS.intersection(method.needs) and type(model.get_submodule(_layer(name))) not in WATCHED:
        return f"{method.name} watches the inputs of layers, and this weight is used without its layer being called"
    weight = model.get_parameter(name)
    return misfit(weight.shape, method.unit, method.pattern) if method.unit != "weight" else ""


@torch.no_grad()
def _weight_masks(model, found, sparsity: float, request: Request, previous: Masks) -> Masks:
    """Masks of one round; `solve` methods also write the repaired weights into `model`."""
    method = request.method
    fractions = method.allocate(found, sparsity) if method.allocate else None
    if method.solve:
        weights = dict(model.named_parameters())
        masks = {}
        for name, seen in found.items():
            share = fractions[name] if fractions else sparsity
            masks[name], repaired = method.solve(seen, share, method.pattern)
            weights[name].copy_(repaired)
        return masks
    scores = _below({name: method.score(seen) for name, seen in found.items()}, previous)
    if method.unit == "n:m":
        check_finite(scores)
        return {name: n_of_m(score, *parse(method.pattern)) for name, score in scores.items()}
    units = {name: pool(score, method.unit, method.pattern) for name, score in scores.items()}
    keep = select(units, sparsity, request.scope, fractions=fractions)
    return {n: spread(keep[n], scores[n].shape, method.unit, method.pattern) for n in scores}


def _below(scores: dict[str, Tensor], previous: Masks) -> dict[str, Tensor]:
    """Scores with what earlier rounds removed ranked below all else, in every layer alike."""
    if not previous:
        return scores
    floor = min(float(score.min() - score.abs().max()) for score in scores.values()) - 1
    return {name: torch.where(previous[name], score, floor) if name in previous else score
            for name, score in scores.items()}  # fmt: skip


def _layer(parameter: str) -> str:
    return parameter.rpartition(".")[0]
