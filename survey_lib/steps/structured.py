"""Which channels a structured method removes, each method in its own way.

score, then select by sparsity or within a budget | solve: choose and reconstruct | search: try layer ratios
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from survey_lib.catalogue import Method
from survey_lib.chain import channels
from survey_lib.chain.copies import duplicate
from survey_lib.chain.coupling import ChannelGroup, Coupling, group_masks
from survey_lib.chain.coupling.groups import shapes
from survey_lib.chain.evidence import weights as observe
from survey_lib.chain.masks import masked_copy
from survey_lib.chain.selection import select
from survey_lib.chain.surgery.cut import biased
from survey_lib.chain.training.recalibrate import recalibrate
from survey_lib.steps.request import MADE, PREDICTED, Budget, Request

USED = 0.9  # share of a budget that is enough
Keep = dict[str, Tensor]  # (size,) bool by group name


class Ranking:
    """The channels of `groups`, ranked once; what stays at a sparsity or within a budget is asked afterwards.

    Count ties of the coupling are respected and no group is emptied. Raises ValueError for missing batches.
    """

    def __init__(
        self, model: nn.Module, coupling: Coupling, groups: Sequence[ChannelGroup], request: Request
    ):
        self.model, self.coupling, self.groups, self.request = model, coupling, list(groups), request
        self.shapes = {}
        self.scores = {group.name: torch.zeros(group.size) for group in groups}  # `solve` decides by itself
        if not request.method.solve:
            self._score()
        self.ratios: dict[str, float] = {}  # searched sparsities of the groups, and of the network as a whole
        self.searched = 0.0

    def _score(self) -> None:
        method, request = self.request.method, self.request
        if method.repair:  # what a removed channel gave on average goes into the biases of its readers
            readers = {part.tensor.rpartition(".")[0] for group in self.groups for part in group.consumers}
            self.model = biased(self.model, readers)
            self.coupling = replace(self.coupling, shapes=shapes(self.model))
        only = Coupling(tuple(self.groups), {})
        found = channels.collect(self.model, only, method.needs, request.batches, request.loss, request.seed)
        self.shapes = {name: tuple(members[0].weight.shape) for name, members in found.items()}
        # These scores are of the group as a whole: every producer shows the same evidence
        if method.category == "channel":
            found = {name: members[:1] for name, members in found.items()}
        self.scores = channels.score_groups(method.score, found)
        self.found = found if method.repair else {}

    def drop(self, names: Container[str]) -> None:
        """Leave these groups whole."""
        self.groups = [group for group in self.groups if group.name not in names]
        self.scores = {group.name: self.scores[group.name] for group in self.groups}
        if not self.groups:
            raise ValueError("no channel can be cut: every group was refused")

    def at(self, sparsity: float) -> Keep:
        """What stays when this fraction of the channels goes."""
        method, scope = self.request.method, self.request.scope
        if method.solve:
            return self.evenly(sparsity)
        if method.search:
            keep = self._searched(sparsity)
        elif scope == "isomorphic":
            keep = _within_structures(self.model, self.groups, self.scores, sparsity)
        else:
            shapes = {name: self.shapes[name] for name in self.scores}
            keep = select(self.scores, sparsity, scope, minimum=1, shapes=shapes)
        return self.coupling.balance(keep, self.scores)

    def evenly(self, sparsity: float) -> Keep:
        """The same fraction of every group."""
        return self.coupling.balance(select(self.scores, sparsity, minimum=1), self.scores)

    def _searched(self, sparsity: float) -> Keep:
        """Layer ratios, searched at the first sparsity asked for; at others all multiplied with one factor."""
        sizes = {group.name: group.size for group in self.groups}
        if not self.ratios:
            judge = partial(_accuracy, self.model, self.coupling, self.scores, sparsity, self.request.batches)
            self.ratios = self.request.method.search(sizes, sparsity, judge, self.request.seed)
            self.searched = sparsity
        factor = sparsity / self.searched if self.searched else 1.0
        fractions = {name: min(self.ratios[name] * factor, 1 - 1 / size) for name, size in sizes.items()}
        return select(self.scores, sparsity, minimum=1, fractions=fractions)

    def within(self, budget: Budget, cost: Callable[[Keep], float]) -> Keep:
        """The mildest choice within the budget: the smallest sparsity that fits, and what groups get back.

        Groups round alike, so where one sparsity is too mild and the next leaves much of the budget, each
        group in turn is tried with what it has at smaller sparsities, until 90 % of the budget is used.

        Parameters
        ----------
        budget : Budget
            What may stay.
        cost : Callable[[Keep], float]
            Predicted cost of the network with these channels kept.
        """
        steps = MADE if budget.cost else PREDICTED
        if self.request.method.search and not self.ratios:
            self.at(budget.bracket(lambda sparsity: cost(self.evenly(sparsity)), steps)[1])
        low, high = budget.bracket(lambda sparsity: cost(self.at(sparsity)), steps)
        keep = self.at(high)
        # a cost of the caller's own would take a cut for each trial
        for tenths in () if budget.cost else range(10, -1, -1):
            milder = self.at(low * tenths / 10)
            for names in self.coupling.units(keep):
                trial = keep | {name: milder[name] for name in names}
                keep = trial if cost(trial) <= budget.limit else keep
            if cost(keep) >= USED * budget.limit:
                break
        return keep

    def repaired(self, keep: Keep) -> tuple[nn.Module, Keep]:
        """The model and what stays of it, repaired where the method repairs.

        `solve` methods choose as many channels as `keep` has and repair a copy; `repair` methods correct the
        readers of what goes.
        """
        request = self.request
        if request.method.repair:
            model = duplicate(self.model)
            for group in self.groups:
                evidence = self.found[group.name][0]
                channels.write_consumers(model, group, request.method.repair(evidence, keep[group.name]))
            return model, keep
        if not request.method.solve:
            return self.model, keep
        return _reconstruct(self.model, self.coupling, self.groups, request.method, keep, request.batches)


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


def _within_structures(
    model: nn.Module, groups: Sequence[ChannelGroup], scores: dict[str, Tensor], sparsity: float
) -> Keep:
    alike: dict[tuple, dict[str, Tensor]] = {}
    for group in groups:
        alike.setdefault(structure(model, group), {})[group.name] = scores[group.name]
    keep: Keep = {}
    for members in alike.values():
        keep |= select(members, sparsity, "global", minimum=1)
    return keep


def _reconstruct(
    model: nn.Module,
    coupling: Coupling,
    groups: Sequence[ChannelGroup],
    method: Method,
    count: Keep,
    batches: list | None,
) -> tuple[nn.Module, Keep]:
    """Group after group, each seen in the network that is pruned and repaired so far."""
    repaired, keep = duplicate(model), {}
    for group in groups:
        pruned = masked_copy(repaired, group_masks(model, coupling, keep))
        (seen, *_) = channels.collect(pruned, Coupling((group,), {}), method.needs, batches, dense=model)[
            group.name
        ]
        keep[group.name], weights = method.solve(seen, int((~count[group.name]).sum()))
        channels.write_consumers(repaired, group, weights)
    return repaired, coupling.balance(keep)


@torch.no_grad()
def _accuracy(
    model: nn.Module,
    coupling: Coupling,
    scores: dict[str, Tensor],
    sparsity: float,
    batches: list | None,
    fractions: dict[str, float],
) -> float:
    """Share of right answers of the masked model: every second batch sets its batch-norm statistics, the others judge."""
    if batches is None or len(batches) < 2:
        raise ValueError(
            "candidates are judged on other data than sets their batch-norm statistics; pass "
            "batches=[(x, y), ...], at least two"
        )
    keep = coupling.balance(select(scores, sparsity, minimum=1, fractions=fractions), scores)
    candidate = recalibrate(masked_copy(model, group_masks(model, coupling, keep)), batches[::2]).eval()
    right = [(observe.call(candidate, x).argmax(-1) == y).float() for x, y in batches[1::2]]
    return float(torch.cat(right).mean())
