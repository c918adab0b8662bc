"""Whole residual blocks: find, choose, leave out."""

from __future__ import annotations

from torch import nn

from survey_lib.chain import blocks
from survey_lib.chain.masks import masked_copy, overall_sparsity
from survey_lib.chain.surgery import cut as surgery
from survey_lib.steps import structured
from survey_lib.steps.request import PruneResult, Request, choose, report_of


def prune_blocks(model: nn.Module, request: Request) -> PruneResult:
    found = blocks.blocks(model, request.example)
    if not found:
        raise ValueError(f"{request.method.name} leaves out residual blocks, and this model has none")
    names = [n for n in choose(found, request.layers) if n not in choose(found, request.protect or [])]
    skipped = [(name, "not among the layers asked for, or protected") for name in found if name not in names]
    keep = structured.choose_blocks(model, names, request.method, request.sparsity, request.batches)
    gone = [name for name, kept in keep.items() if not kept]
    masks = blocks.block_masks(model, gone)
    pruned = blocks.remove(model, gone) if request.cut else masked_copy(model, masks)
    plan = surgery.block_plan(model, gone) if request.cut else None
    report = report_of([(name, 1, int(kept), name) for name, kept in keep.items()], request)
    return PruneResult(pruned, masks, plan, report, overall_sparsity(keep), skipped)
