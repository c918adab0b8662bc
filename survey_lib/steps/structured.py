"""Channels chosen in other ways than by one ranking: within a budget, by searched ratios, or to reconstruct."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from survey_lib.chain import channels
from survey_lib.chain.coupling import ChannelGroup, Coupling, group_masks
from survey_lib.chain.evidence import weights as observe
from survey_lib.chain.inputs import duplicate
from survey_lib.chain.masks import masked_copy
from survey_lib.chain.selection import select
from survey_lib.chain.training.recovery import recalibrate
from survey_lib.steps.request import MADE, PREDICTED, Budget

if TYPE_CHECKING:
    from survey_lib.steps.channels import Ranking

USED = 0.9  # share of a budget that is enough
Keep = dict[str, Tensor]  # (size,) bool by group name


def within(
    at: Callable[[float], Keep], coupling: Coupling, budget: Budget, cost: Callable[[Keep], float]
) -> Keep:
    """The mildest choice within the budget: the smallest sparsity that fits, and what groups get back.

    Groups round alike, so where one sparsity is too mild and the next leaves much of the budget, each
    group in turn is tried with what it has at smaller sparsities, until 90 % of the budget is used.

    Parameters
    ----------
    at : Callable[[float], Keep]
        What stays at a sparsity.
    coupling : Coupling
        What `trace` returned for the model.
    budget : Budget
        What may stay.
    cost : Callable[[Keep], float]
        Predicted cost of the network with these channels kept.
    """
    low, high = bracket(at, budget, cost)
    keep = at(high)
    # a cost of the caller's own would take a cut for each trial
    for tenths in () if budget.cost else range(10, -1, -1):
        milder = at(low * tenths / 10)
        for names in coupling.units(keep):
            trial = keep | {name: milder[name] for name in names}
            keep = trial if cost(trial) <= budget.limit else keep
        if cost(keep) >= USED * budget.limit:
            break
    return keep


def bracket(
    at: Callable[[float], Keep], budget: Budget, cost: Callable[[Keep], float]
) -> tuple[float, float]:
    """Two neighbouring sparsities about the budget, see `Budget.bracket`.

    Parameters
    ----------
    at : Callable[[float], Keep]
        What stays at a sparsity.
    budget : Budget
        What may stay.
    cost : Callable[[Keep], float]
        Predicted cost.
    """
    return budget.bracket(lambda sparsity: cost(at(sparsity)), MADE if budget.cost else PREDICTED)


@torch.no_grad()
def accuracy(ranking: Ranking, sparsity: float, fractions: dict[str, float]) -> float:
    """Share of right answers of the masked model: every second batch sets its batch-norm statistics, the others judge.

    Parameters
    ----------
    ranking : Ranking
        The ranked channels, with at least two batches in its request.
    sparsity : float
        Share of the channels that goes.
    fractions : dict[str, float]
        Share that each group loses.
    """
    model, coupling, batches = ranking.model, ranking.coupling, ranking.request.batches
    if batches is None or len(batches) < 2:
        raise ValueError("some batches set batch-norm statistics, others judge: pass at least two")
    keep = select(ranking.scores, sparsity, minimum=1, fractions=fractions)
    masks = group_masks(model, coupling, coupling.balance(keep, ranking.scores))
    candidate = recalibrate(masked_copy(model, masks), batches[::2]).eval()
    right = [(observe.call(candidate, x).argmax(-1) == y).float() for x, y in batches[1::2]]
    return float(torch.cat(right).mean())


def within_structures(ranking: Ranking, sparsity: float) -> Keep:
    """What stays when groups made of the same kinds of layers are ranked together.

    Parameters
    ----------
    ranking : Ranking
        The ranked channels.
    sparsity : float
        Share of the channels that goes.
    """
    alike: dict[tuple, dict[str, Tensor]] = {}
    for group in ranking.groups:
        alike.setdefault(structure(ranking.model, group), {})[group.name] = ranking.scores[group.name]
    keep: Keep = {}
    for members in alike.values():
        keep |= select(members, sparsity, "global", minimum=1)
    return keep


def structure(model: nn.Module, group: ChannelGroup) -> tuple[tuple[str, int], ...]:
    """What a group is made of, whatever its width: kinds of module and the axis it holds of each.

    Groups that agree are ranked together by isomorphic pruning, as in the reference implementation, which
    compares the types of layers and of cuts along the group.

    Parameters
    ----------
    model : nn.Module
        The network.
    group : ChannelGroup
        One of its channel groups.

    Returns
    -------
    tuple[tuple[str, int], ...]
        Pairs (kind of module, axis), sorted.
    """
    kinds = [type(model.get_submodule(part.tensor.rpartition(".")[0])).__name__ for part in group.slices]
    return tuple(sorted(zip(kinds, (part.dim for part in group.slices), strict=True)))


def reconstructed(ranking: Ranking, count: Keep) -> tuple[nn.Module, Keep]:
    """Group after group chosen and its readers repaired, each seen in the network that is repaired so far.

    Parameters
    ----------
    ranking : Ranking
        The groups, and what was asked of `prune`.
    count : Keep
        As many channels of each group stay as here.
    """
    model, method, batches = ranking.model, ranking.request.method, ranking.request.batches
    repaired, keep = duplicate(model), {}
    for group in ranking.groups:
        pruned = masked_copy(repaired, group_masks(model, ranking.coupling, keep))
        alone = Coupling((group,), {})
        found = channels.collect(pruned, alone, method.needs, batches, dense=model)[group.name]
        keep[group.name], weights = method.solve(found[0], int((~count[group.name]).sum()))
        channels.write_consumers(repaired, group, weights)
    return repaired, ranking.coupling.balance(keep)
