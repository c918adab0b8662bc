"""Channel groups: trace, choose, cut and check."""

from __future__ import annotations

import torch
from torch import nn

from survey_lib.chain.coupling import ChannelGroup, Coupling, group_masks, trace
from survey_lib.chain.masks import masked_copy, overall_sparsity
from survey_lib.chain.surgery import cut as surgery
from survey_lib.steps import structured
from survey_lib.steps.request import PruneResult, Request, choose, report_of


def prune_channels(model: nn.Module, request: Request) -> PruneResult:
    coupling = trace(model, request.example)
    groups, skipped = _chosen_groups(coupling, request)
    repaired, keep = _choose(model, coupling, groups, request)
    done = surgery.cut(repaired, coupling, keep, request.example) if request.cut else None
    if done and done.refused:
        skipped += done.refused
        if request.method.solve:  # readers of a refused group must not stay repaired for its loss
            groups = [group for group in groups if group.name not in dict(done.refused)]
            repaired, keep = _choose(model, coupling, groups, request)
            done = surgery.cut(repaired, coupling, keep, request.example)
    if done:
        keep = {name: done.keep.get(name, torch.ones_like(mask)) for name, mask in keep.items()}
    masks = group_masks(model, coupling, keep)
    pruned = done.model if done else masked_copy(repaired, masks)
    rows = [(layer, group.size, int(keep[group.name].sum()), group.name) for group in groups for layer in group.producers]
    plan = done.plan if done else None
    return PruneResult(pruned, masks, plan, report_of(rows, request), overall_sparsity(keep), skipped)


def _choose(model: nn.Module, coupling: Coupling, groups: list[ChannelGroup], request: Request):
    return structured.choose_channels(
        model, coupling, groups, request.method, request.sparsity, request.scope,
        batches=request.batches, loss=request.loss, seed=request.seed,
    )  # fmt: skip


def _chosen_groups(coupling: Coupling, request: Request) -> tuple[list[ChannelGroup], list[tuple[str, str]]]:
    """The groups to prune: those the method is about, with a wanted producer and no protected one (case B41)."""
    of_method = request.method.groups or (lambda group: True)
    known = list(dict.fromkeys([n for group in coupling.groups for n in group.producers] + list(coupling.fixed)))
    wanted, barred = set(choose(known, request.layers)), set(choose(known, request.protect or []))
    groups, skipped = [], list(coupling.fixed.items())
    for group in coupling.groups:
        if not of_method(group):
            skipped.append((group.name, f"not what {request.method.name} prunes"))
        elif wanted.isdisjoint(group.producers):
            skipped.append((group.name, "not among the layers asked for"))
        elif not barred.isdisjoint(group.producers):
            skipped.append((group.name, f"protected, with {', '.join(barred & set(group.producers))}"))
        else:
            groups.append(group)
    names = {group.name for group in groups}
    tied = {n: ties for ties in coupling.counts if not names.issuperset(ties) for n in names.intersection(ties)}
    skipped += [(name, f"tied by count to {', '.join(set(ties) - {name})}") for name, ties in tied.items()]
    if names <= tied.keys():
        raise ValueError("no channel can be cut: " + "; ".join(f"{name}: {why}" for name, why in skipped))
    return [group for group in groups if group.name not in tied], skipped
