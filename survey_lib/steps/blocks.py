"""Whole residual blocks: find, choose, leave out."""

import torch
from torch import nn

from survey_lib.chain import blocks
from survey_lib.chain.inputs import choose, running
from survey_lib.chain.masks import masked_copy, overall_sparsity
from survey_lib.chain.selection import select
from survey_lib.chain.surgery.plan import make_plan
from survey_lib.measure import measure
from survey_lib.steps.request import MADE, NOT_ASKED, Pruned, Request


def prune_blocks(model: nn.Module, request: Request) -> Pruned:
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
    method, budget, example = request.method, request.budget, request.example
    with running(model, example):
        found = blocks.blocks(model, example)
    if not found:
        raise ValueError(f"{method.name} leaves out residual blocks, and this model has none")
    barred = choose(found, request.protect)
    names = [name for name in choose(found, request.layers) if name not in barred]
    seen = blocks.collect(model, names, request.batches)
    scores = torch.zeros(len(names)) if method.solve else torch.stack([method.score(seen[n]) for n in names])

    def gone(sparsity: float) -> list[str]:
        keep = select({"blocks": scores}, sparsity, minimum=1)["blocks"]
        if method.solve:
            keep = method.solve([seen[name] for name in names], int((~keep).sum()))
        return [name for name, kept in zip(names, keep.tolist(), strict=True) if not kept]

    def cost(sparsity: float) -> float:
        return budget.spent(blocks.remove(model, gone(sparsity)), example)

    removed = gone(budget.bracket(cost, MADE)[1] if budget else request.sparsity)
    masks = blocks.block_masks(model, removed)
    pruned, plan, macs = masked_copy(model, masks), None, 1.0
    if request.cut:
        pruned, plan = blocks.remove(model, removed), make_plan(model, {}, {}) | {"blocks": removed}
        macs = measure(pruned, example, samples=1)["macs"] / measure(model, example, samples=1)["macs"]
    keep = {name: torch.tensor([name not in removed]) for name in names}
    rows = [(name, 1, int(kept), name) for name, kept in keep.items()]
    skipped = [(name, NOT_ASKED) for name in found if name not in names]
    return Pruned(pruned, masks, rows, overall_sparsity(keep), skipped, plan, macs)
