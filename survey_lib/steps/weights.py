"""Masks over weights and patterns: collect, score, select and apply, round by round."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from survey_lib.catalogue import Method
from survey_lib.chain import masks as masking
from survey_lib.chain.evidence import base as evidence
from survey_lib.chain.evidence.base import Evidence
from survey_lib.chain.inputs import choose, duplicate
from survey_lib.chain.masks import Masks, apply, own_matrices, prunable, reparametrised
from survey_lib.chain.patterns import misfit, n_of_m, parse, permuted, pool, spread
from survey_lib.chain.selection import check_finite, round_sparsities, select
from survey_lib.steps.request import MADE, NOT_ASKED, Pruned, Request

OF_NO_LAYER = "a matrix of {}, which is no layer of torch; name it in layers= to prune single weights of it"
TIED = "its weight is also an embedding; name it in layers= to prune both"
NOTHING = "the model has no linear, convolution, recurrent or attention layer of torch in floating point"
INPUTS = {"act_norm", "gram"}
WATCHED = (nn.Linear, nn.Conv1d, nn.Conv2d)  # not the projections inside attention and recurrent layers


def prune_weights(model: nn.Module, request: Request) -> Pruned:
    """Mask single weights or patterns: collect evidence, score, select and apply, round by round.

    Parameters
    ----------
    model : nn.Module
        A copy that may be changed.
    request : Request
        What was asked of `prune`.

    Raises
    ------
    ValueError
        If the method finds no layer to prune; the text has the reason of each layer.
    """
    method = request.method
    if method.permute and not request.masks:  # a later round finds the channels in order
        if request.example is None:
            raise ValueError(f"{method.name} traces the network to reorder it: give example=an input")
        model = permuted(model, request.example, method.pattern, method.permute)
    names, skipped = _chosen(model, request)
    if not names:
        reasons = "; ".join(f"{layer}: {reason}" for layer, reason in skipped)
        raise ValueError(f"{method.name} finds no layer to prune: {reasons or NOTHING}")
    dense = pruned = apply(duplicate(model), request.masks)
    # masks may have been loaded to the CPU
    earlier = {name: mask.to(masking.tensors(model)[name].device) for name, mask in request.masks.items()}
    masks, data = dict(earlier), (request.batches, request.loss, request.seed, request.example)
    for sparsity in [None] if request.budget else round_sparsities(request.sparsity, method.rounds):
        found = evidence.collect(pruned, names, method.needs, *data, batch_statistics=method.when == "before")
        if method.revive:
            found = {n: replace(seen, weight=dense.get_parameter(n).detach()) for n, seen in found.items()}
            pruned, masks = duplicate(dense), dict(earlier)
        repaired = {}
        if method.solve:
            for name, seen in found.items():
                masks[name], repaired[name] = method.solve(seen, sparsity, method.pattern)
        else:
            scores = _below({name: method.score(seen) for name, seen in found.items()}, masks)
            if sparsity is None:
                sparsity = _sparsity_within(pruned, masks, scores, found, request)
            masks |= _select(scores, found, sparsity, request)
        masks |= {name: masks[name] & mask for name, mask in earlier.items()}  # what is gone stays gone
        if method.repair:
            repaired = {name: method.repair(seen, masks[name]) for name, seen in found.items()}
        with torch.no_grad():
            for name, weight in repaired.items():
                pruned.get_parameter(name).copy_(weight)
        apply(pruned, masks)
    kept = {name: int(masks[name].count_nonzero()) for name in names}
    rows = [(name.removesuffix(".weight"), masks[name].numel(), kept[name], name) for name in names]
    return Pruned(pruned, masks, rows, masking.overall_sparsity(masks), skipped)


def _chosen(model: nn.Module, request: Request) -> tuple[list[str], list[tuple[str, str]]]:
    """The weights to prune, and the layers that are left whole with the reason of each."""
    names, skipped = list(prunable(model, tied=request.layers is not None)), []
    tied = [name for name in prunable(model, tied=True) if name not in names]
    own, named = own_matrices(model), request.layers is not None and request.method.unit == "weight"
    layer = {name: _layer(name) for name in names} | {name: name.removesuffix(".weight") for name in own}
    names += own if named else []
    owners = list(dict.fromkeys(layer[name] for name in names))
    wanted = set(choose(owners, request.layers)) - set(choose(owners, request.protect))
    computed = reparametrised(model)
    skipped += [(owner, NOT_ASKED) for owner in owners if owner not in wanted | computed.keys()]
    skipped += [(_layer(name), TIED) for name in tied]
    skipped += [(layer[name], OF_NO_LAYER.format(kind)) for name, kind in own.items() if not named]
    skipped += computed.items()
    wanted -= computed.keys()
    reasons = {name: _unfit(model, name, request.method) for name in names if layer[name] in wanted}
    skipped += [(layer[name], reason) for name, reason in reasons.items() if reason]
    return [name for name, reason in reasons.items() if not reason], skipped


def _unfit(model: nn.Module, name: str, method: Method) -> str:
    """Why a weight is left whole by this method; empty if it is not."""
    owner = type(model.get_submodule(_layer(name)))
    watched = name.endswith("weight") and owner is not NonDynamicallyQuantizableLinear
    watched &= owner.forward in [kind.forward for kind in WATCHED if issubclass(owner, kind)]
    if INPUTS.intersection(method.needs) and not watched:
        return f"{method.name} watches the inputs of torch's linear and convolution layers, and {owner.__name__} is none"
    weight = model.get_parameter(name)
    return misfit(weight.shape, method.unit, method.pattern) if method.unit != "weight" else ""


def _select(
    scores: dict[str, Tensor], found: dict[str, Evidence], sparsity: float, request: Request
) -> Masks:
    """Masks of a method that scores."""
    method = request.method
    fractions = method.allocate(found, sparsity) if method.allocate else None
    if method.unit == "n:m":
        check_finite(scores)
        return {name: n_of_m(score, *parse(method.pattern)) for name, score in scores.items()}
    units = {name: pool(score, method.unit, method.pattern) for name, score in scores.items()}
    keep = select(units, sparsity, request.scope, fractions=fractions)
    return {n: spread(keep[n], scores[n].shape, method.unit, method.pattern) for n in scores}


def _sparsity_within(model: nn.Module, masks: Masks, scores: dict, found: dict, request: Request) -> float:
    """The smallest sparsity whose masks meet the budget, by what they leave nonzero."""

    def cost(sparsity: float) -> float:
        return request.budget.spent(model, request.example, masks | _select(scores, found, sparsity, request))

    return request.budget.bracket(cost, MADE)[1]


def _below(scores: dict[str, Tensor], previous: Masks) -> dict[str, Tensor]:
    """Scores with what earlier rounds removed ranked below all else, in every layer alike."""
    if not previous:
        return scores
    floor = min(float(score.min() - score.abs().max()) for score in scores.values()) - 1
    return {n: torch.where(previous[n], s, floor) if n in previous else s for n, s in scores.items()}


def _layer(parameter: str) -> str:
    return parameter.rpartition(".")[0]
