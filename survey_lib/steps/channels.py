"""Channel groups: choose, cut and check."""

from itertools import accumulate

import torch
from torch import nn

from survey_lib.chain.coupling import ChannelGroup, Coupling, group_masks
from survey_lib.chain.coupling.groups import parameters
from survey_lib.chain.masks import masked_copy, overall_sparsity, own_matrices, prunable
from survey_lib.chain.surgery import cut as surgery
from survey_lib.steps.request import UNSEEN, Request, choose, report_of
from survey_lib.steps.result import PruneResult, shares
from survey_lib.steps.structured import Keep, Ranking

NOTHING = "the model has no layer whose channels another one reads"
WHOLE = "nothing of it goes with a channel that can be cut"


def prune_channels(model: nn.Module, request: Request) -> PruneResult:
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
    coupling = request.coupling
    coupling.check(model)
    groups, skipped = _chosen_groups(model, coupling, request)
    skipped += [(name, UNSEEN) for name in coupling.unseen]
    ranking, whole = Ranking(model, coupling, groups, request), coupling.macs({})

    def made(keep: Keep) -> tuple[nn.Module, Keep, surgery.Cut | None]:
        repaired, keep = ranking.repaired(keep)
        if not request.cut:
            return masked_copy(repaired, group_masks(model, coupling, keep)), keep, None
        done = surgery.cut(repaired, ranking.coupling, keep, request.example, *request.more)
        return (
            done.model,
            {name: done.keep.get(name, torch.ones_like(mask)) for name, mask in keep.items()},
            done,
        )

    def cost(keep: Keep) -> float:
        if request.budget.cost:
            return request.budget.own(made(keep)[0])
        if request.budget.kind == "macs":
            return coupling.macs(keep) / whole
        return parameters(ranking.model, coupling, keep) / request.budget.dense  # with the biases of a repair

    while True:
        wanted = ranking.within(request.budget, cost) if request.budget else ranking.at(request.sparsity)
        pruned, keep, done = made(wanted)
        refused = dict(done.refused) if done else {}
        skipped += refused.items()
        # readers of a refused group must not stay repaired for its loss; a budget must be met by the other groups
        if not refused or not (request.method.solve or request.method.repair or request.budget):
            break
        ranking.drop(refused)
    masks = group_masks(model, coupling, keep)
    skipped += [(name, WHOLE) for name in _unmentioned(model, coupling, skipped)]
    rows = [
        (layer, group.size, int(keep[group.name].sum()), group.name)
        for group in ranking.groups
        for layer in group.producers
    ]
    sparsity = overall_sparsity(keep)
    dense = model.state_dict()
    added = [name.removesuffix(".bias") for name in pruned.state_dict() if name not in dense]
    plan = done and done.plan | ({"biases": added} if added else {})
    report, over_kept = report_of(rows, request, sparsity), done.over_kept if done else ()
    left = shares(model, pruned, request.cut, coupling.macs(keep) / whole if whole else 1.0)
    return PruneResult(pruned, masks, plan, report, sparsity, skipped, left, over_kept)


def _unmentioned(model: nn.Module, coupling: Coupling, skipped: list[tuple[str, str]]) -> list[str]:
    """Matrices of which nothing is in a group and nothing was said (case B68)."""
    said = {part.tensor for group in coupling.groups for part in group.slices} | {name for name, _ in skipped}
    return [
        name
        for name in (*prunable(model), *own_matrices(model))
        if name not in said and said.isdisjoint(accumulate(name.split(".")[:-1], "{}.{}".format))
    ]


def _chosen_groups(
    model: nn.Module, coupling: Coupling, request: Request
) -> tuple[list[ChannelGroup], list[tuple[str, str]]]:
    """The groups to prune: those the method is about, with a wanted producer and no protected one (case B41)."""
    of_method = request.method.groups or (lambda group, model: True)
    known = list(
        dict.fromkeys([n for group in coupling.groups for n in group.producers] + list(coupling.fixed))
    )
    wanted, barred = set(choose(known, request.layers)), set(choose(known, request.protect or []))
    groups, skipped = [], list(coupling.fixed.items())
    for group in coupling.groups:
        if not of_method(group, model):
            skipped.append((group.name, f"not what {request.method.name} prunes"))
        elif wanted.isdisjoint(group.producers):
            skipped.append((group.name, "not among the layers asked for"))
        elif not barred.isdisjoint(group.producers):
            skipped.append((group.name, f"protected, with {', '.join(barred & set(group.producers))}"))
        else:
            groups.append(group)
    names = {group.name for group in groups}
    tied = {
        n: ties for ties in coupling.counts if not names.issuperset(ties) for n in names.intersection(ties)
    }
    skipped += [(name, f"tied by count to {', '.join(set(ties) - {name})}") for name, ties in tied.items()]
    if names <= tied.keys():
        reasons = "; ".join(f"{name}: {why}" for name, why in skipped)
        raise ValueError(f"no channel can be cut: {reasons or NOTHING}")
    return [group for group in groups if group.name not in tied], skipped
