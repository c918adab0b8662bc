"""Whole residual blocks: find, choose, leave out."""

import torch
from torch import nn

from survey_lib.chain import blocks
from survey_lib.chain.checks import running
from survey_lib.chain.masks import masked_copy, overall_sparsity
from survey_lib.chain.selection import select
from survey_lib.chain.surgery import cut as surgery
from survey_lib.measure import measure
from survey_lib.steps.request import MADE, NOT_ASKED, Request, choose, report_of
from survey_lib.steps.result import PruneResult, shares


def prune_blocks(model: nn.Module, request: Request) -> PruneResult:
    """Leave whole residual blocks out of the model: find them, score them, choose, remove.

    Parameters
    ----------
    model : nn.Module
        A copy that may be changed.
    request : Request
        What was asked of `prune`.

    Raises
    ------
    ValueError
        For a model without residual blocks, or missing batches.
    """
    method, budget = request.method, request.budget
    with running(model, request.example):
        found = blocks.blocks(model, request.example)
    if not found:
        raise ValueError(f"{method.name} leaves out residual blocks, and this model has none")
    names = [n for n in choose(found, request.layers) if n not in choose(found, request.protect)]
    skipped = [(name, NOT_ASKED) for name in found if name not in names]
    seen = blocks.collect(model, names, request.batches)
    scores = torch.zeros(len(names)) if method.solve else torch.stack([method.score(seen[n]) for n in names])

    def gone(sparsity: float) -> list[str]:
        keep = select({"blocks": scores}, sparsity, minimum=1)["blocks"]
        if method.solve:
            keep = method.solve([seen[name] for name in names], int((~keep).sum()))
        return [name for name, kept in zip(names, keep.tolist(), strict=True) if not kept]

    def cost(sparsity: float) -> float:
        return budget.spent(blocks.remove(model, gone(sparsity)), request.example)

    removed = gone(budget.bracket(cost, MADE)[1] if budget else request.sparsity)
    keep = {name: torch.tensor([name not in removed]) for name in names}
    masks = blocks.block_masks(model, removed)
    if request.cut:
        pruned, plan = blocks.remove(model, removed), surgery.block_plan(model, removed)
        macs = [measure(one, request.example, samples=1)["macs"] for one in (pruned, model)]
    else:
        pruned, plan, macs = masked_copy(model, masks), None, (1, 1)
    sparsity = overall_sparsity(keep)
    report = report_of([(name, 1, int(kept), name) for name, kept in keep.items()], request, sparsity)
    left = shares(model, pruned, request.cut, macs[0] / macs[1])
    return PruneResult(pruned, masks, plan, report, sparsity, skipped, left)
