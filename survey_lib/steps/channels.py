"""Channel groups: choose the groups, score and select their channels, cut and check."""

from collections.abc import Container, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate

import torch
from torch import nn

from survey_lib.chain import channels
from survey_lib.chain.coupling import ChannelGroup, Coupling, group_masks
from survey_lib.chain.coupling.groups import parameters, shapes
from survey_lib.chain.inputs import choose, duplicate
from survey_lib.chain.masks import masked_copy, overall_sparsity, own_matrices, prunable
from survey_lib.chain.selection import select
from survey_lib.chain.surgery import cut as surgery
from survey_lib.chain.surgery.plan import biased
from survey_lib.steps import structured
from survey_lib.steps.request import UNSEEN, Pruned, Request
from survey_lib.steps.structured import Keep

NOTHING = "the model has no layer whose channels another one reads"
WHOLE = "nothing of it goes with a channel that can be cut"


def prune_channels(model: nn.Module, request: Request) -> Pruned:
    """Remove coupled channels: choose, cut, and check that masked equals cut.

    Parameters
    ----------
    model : nn.Module
        A copy that may be changed.
    request : Request
        What was asked of `prune`, with the coupling.

    Raises
    ------
    ValueError
        If no channel can be cut; the text has the reason of each layer.
    """
    coupling, sparsity, budget = request.coupling, request.sparsity, request.budget
    coupling.check(model)
    groups, skipped = _chosen_groups(model, coupling, request)
    skipped += [(name, UNSEEN) for name in coupling.unseen]
    ranking, whole = Ranking(model, coupling, groups, request), coupling.macs({})

    def made(keep: Keep) -> tuple[nn.Module, Keep, surgery.Cut | None]:
        repaired, keep = ranking.repaired(keep)
        if not request.cut:
            return masked_copy(repaired, group_masks(model, coupling, keep)), keep, None
        done = surgery.cut(repaired, ranking.coupling, keep, request.example, *request.more)
        return done.model, {name: torch.ones_like(mask) for name, mask in keep.items()} | done.keep, done

    def cost(keep: Keep) -> float:
        if budget.cost:
            return budget.spent(made(keep)[0], request.example)
        if budget.kind == "macs":
            return coupling.macs(keep) / whole
        return parameters(ranking.model, coupling, keep) / budget.dense  # with the biases of a repair

    if request.method.search:
        ranking.search(structured.bracket(ranking.at, budget, cost)[1] if budget else sparsity)
    while True:
        keep = structured.within(ranking.at, coupling, budget, cost) if budget else ranking.at(sparsity)
        pruned, keep, done = made(keep)
        refused = dict(done.refused) if done else {}
        skipped += refused.items()
        # readers of a refused group must not stay repaired for its loss; a budget must be met by the other groups
        if not refused or not (request.method.solve or request.method.repair or budget):
            break
        ranking.drop(refused)
    skipped += [(name, WHOLE) for name in _unmentioned(model, coupling, skipped)]
    rows = [(n, g.size, int(keep[g.name].sum()), g.name) for g in ranking.groups for n in g.producers]
    masks, macs = group_masks(model, coupling, keep), coupling.macs(keep) / whole if whole else 1.0
    dense = model.state_dict()
    added = [name.removesuffix(".bias") for name in pruned.state_dict() if name not in dense]
    plan = done and done.plan | ({"biases": added} if added else {})
    over_kept = done.over_kept if done else ()
    return Pruned(pruned, masks, rows, overall_sparsity(keep), skipped, plan, macs, over_kept)


def _chosen_groups(
    model: nn.Module, coupling: Coupling, request: Request
) -> tuple[list[ChannelGroup], list[tuple[str, str]]]:
    """The groups to prune: those the method is about, with a wanted producer and no protected one (case B41)."""
    known = list(dict.fromkeys([*(n for group in coupling.groups for n in group.producers), *coupling.fixed]))
    wanted, barred = (set(choose(known, names)) for names in (request.layers, request.protect))
    whole: dict[str, str] = {}
    for group in coupling.groups:
        if request.method.groups and not request.method.groups(group, model):
            whole[group.name] = f"not what {request.method.name} prunes"
        elif wanted.isdisjoint(group.producers):
            whole[group.name] = "not among the layers asked for"
        elif not barred.isdisjoint(group.producers):
            whole[group.name] = f"protected, with {', '.join(barred & set(group.producers))}"
    free = {group.name for group in coupling.groups} - whole.keys()
    for ties in coupling.counts:
        if not free.issuperset(ties):
            whole |= {n: f"tied by count to {', '.join(set(ties) - {n})}" for n in free.intersection(ties)}
    skipped = [*coupling.fixed.items(), *whole.items()]
    groups = [group for group in coupling.groups if group.name not in whole]
    if not groups:
        reasons = "; ".join(f"{name}: {why}" for name, why in skipped)
        raise ValueError(f"no channel can be cut: {reasons or NOTHING}")
    return groups, skipped


class Ranking:
    """The channels of `groups`, ranked once; what stays at a sparsity or within a budget is asked afterwards.

    Count ties of the coupling are respected and no group is emptied. Raises ValueError for missing batches.
    """

    def __init__(
        self, model: nn.Module, coupling: Coupling, groups: Sequence[ChannelGroup], request: Request
    ):
        self.model, self.coupling, self.groups, self.request = model, coupling, list(groups), request
        self.ratios, self.searched = {}, 0.0  # sparsities of the groups and of the network, from `search`
        self.scores = {group.name: torch.zeros(group.size) for group in groups}  # `solve` decides by itself
        if not request.method.solve:
            self._score()

    def _score(self) -> None:
        method, request = self.request.method, self.request
        if method.repair:  # what a removed channel gave on average goes into the biases of its readers
            readers = {part.tensor.rpartition(".")[0] for group in self.groups for part in group.consumers}
            self.model = biased(self.model, readers)
            self.coupling = replace(self.coupling, shapes=shapes(self.model))
        only = Coupling(tuple(self.groups), {})
        found = channels.collect(self.model, only, method.needs, request.batches, request.loss, request.seed)
        self.found = found if method.repair else {}
        # These scores are of the group as a whole: every producer shows the same evidence
        if method.category == "channel":
            found = {name: members[:1] for name, members in found.items()}
        self.scores = channels.score_groups(method.score, found)

    def drop(self, names: Container[str]) -> None:
        """Leave these groups whole."""
        self.groups = [group for group in self.groups if group.name not in names]
        self.scores = {group.name: self.scores[group.name] for group in self.groups}
        if not self.groups:
            raise ValueError("no channel can be cut: every group was refused")

    def search(self, sparsity: float) -> None:
        """Try layer ratios at this sparsity; at others all are multiplied with one factor."""
        sizes, request = {group.name: group.size for group in self.groups}, self.request
        judge = partial(structured.accuracy, self, sparsity)
        self.ratios, self.searched = request.method.search(sizes, sparsity, judge, request.seed), sparsity

    def at(self, sparsity: float) -> Keep:
        """What stays when this fraction of the channels goes."""
        scope, fractions = self.request.scope, None
        if self.ratios:
            factor = sparsity / self.searched if self.searched else 1.0
            fractions = {g.name: min(self.ratios[g.name] * factor, 1 - 1 / g.size) for g in self.groups}
        if scope == "isomorphic":
            keep = structured.within_structures(self, sparsity)
        else:
            keep = select(self.scores, sparsity, scope, minimum=1, fractions=fractions)
        return self.coupling.balance(keep, self.scores)

    def repaired(self, keep: Keep) -> tuple[nn.Module, Keep]:
        """The model and what stays of it, repaired where the method repairs.

        `solve` methods choose as many channels as `keep` has and repair a copy; `repair` methods correct the
        readers of what goes.
        """
        if self.request.method.solve:
            return structured.reconstructed(self, keep)
        if not self.request.method.repair:
            return self.model, keep
        model = duplicate(self.model)
        for group in self.groups:
            repaired = self.request.method.repair(self.found[group.name][0], keep[group.name])
            channels.write_consumers(model, group, repaired)
        return model, keep


def _unmentioned(model: nn.Module, coupling: Coupling, skipped: list[tuple[str, str]]) -> list[str]:
    """Matrices of which nothing is in a group and nothing was said (case B68)."""
    said = {part.tensor for group in coupling.groups for part in group.slices} | {name for name, _ in skipped}
    return [
        name
        for name in (*prunable(model), *own_matrices(model))
        if name not in said and said.isdisjoint(accumulate(name.split(".")[:-1], "{}.{}".format))
    ]
