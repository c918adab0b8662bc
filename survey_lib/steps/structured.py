"""Which channels and blocks a structured method removes, each method in its own way.

score and select | solve: choose and reconstruct | search: try layer ratios | blocks: leave out whole layers
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from survey_lib.catalogue import Method
from survey_lib.chain import blocks, channels
from survey_lib.chain.coupling import ChannelGroup, Coupling, group_masks
from survey_lib.chain.evidence import weights as observe
from survey_lib.chain.evidence.base import Evidence
from survey_lib.chain.masks import masked_copy
from survey_lib.chain.repair import reestimate_batch_norm
from survey_lib.chain.selection import select

Keep = dict[str, Tensor]  # (size,) bool by group name


def choose_channels(
    model: nn.Module,
    coupling: Coupling,
    groups: Sequence[ChannelGroup],
    method: Method,
    sparsity: float,
    scope: str,
    *,
    batches: Iterable | None = None,
    loss: Callable | None = None,
    seed: int = 0,
) -> tuple[nn.Module, Keep]:
    """The model and the channels to keep in each of `groups`; `solve` methods return a repaired copy.

    Count ties of the coupling are respected and no group is emptied. Raises ValueError for missing batches.
    """
    batches = None if batches is None else list(batches)
    found = channels.collect(model, Coupling(tuple(groups), {}), method.needs, batches, loss, seed)
    if method.solve:
        repaired, keep = _reconstruct(model, groups, found, method, sparsity)
        return repaired, coupling.balance(keep)
    if method.category == "channel":  # born for the group as a whole: every producer shows the same evidence
        found = {name: members[:1] for name, members in found.items()}
    scores = channels.score_groups(method.score, found)
    if method.search:
        judge = partial(_accuracy, model, coupling, scores, sparsity, batches)
        fractions = method.search({group.name: group.size for group in groups}, sparsity, judge, seed)
        keep = select(scores, sparsity, minimum=1, fractions=fractions)
    elif scope == "isomorphic":
        keep = _within_structures(model, groups, scores, sparsity)
    else:
        shapes = {name: tuple(members[0].weight.shape) for name, members in found.items()}
        keep = select(scores, sparsity, scope, minimum=1, shapes=shapes)
    return model, coupling.balance(keep, scores)


def choose_blocks(
    model: nn.Module, names: Sequence[str], method: Method, sparsity: float, batches: Iterable | None
) -> Keep:
    """{block: (1,) bool}: which of the named blocks to keep, at least one. ValueError without batches."""
    if batches is None:
        raise ValueError(f"{method.name} compares what blocks read and give; pass batches=[(x, y), ...]")
    found = blocks.collect(model, names, batches)
    scores = torch.stack([method.score(found[name]) for name in names])
    keep = select({"blocks": scores}, sparsity, minimum=1)["blocks"]
    return dict(zip(names, keep.split(1), strict=True))


def structure(model: nn.Module, group: ChannelGroup) -> tuple[tuple[str, int], ...]:
    """What a group is made of, whatever its width: kinds of module and the axis it holds of each.

    Groups that agree are ranked together by isomorphic pruning, as in the reference implementation, which
    compares the types of layers and of cuts along the group.
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
    groups: Sequence[ChannelGroup],
    found: dict[str, list[Evidence]],
    method: Method,
    sparsity: float,
) -> tuple[nn.Module, Keep]:
    repaired, keep = copy.deepcopy(model), {}
    for group in groups:
        removed = min(round(sparsity * group.size), group.size - 1)
        keep[group.name], weights = method.solve(found[group.name][0], removed)
        channels.write_consumers(repaired, group, weights)
    return repaired, keep


@torch.no_grad()
def _accuracy(
    model: nn.Module,
    coupling: Coupling,
    scores: dict[str, Tensor],
    sparsity: float,
    batches: list | None,
    fractions: dict[str, float],
) -> float:
    """Share of right answers of the masked model with batch-norm statistics of its own, on the batches."""
    if batches is None:
        raise ValueError("candidates are judged on data; pass batches=[(x, y), ...]")
    keep = coupling.balance(select(scores, sparsity, minimum=1, fractions=fractions), scores)
    candidate = reestimate_batch_norm(masked_copy(model, group_masks(model, coupling, keep)), batches).eval()
    right = [(observe.call(candidate, x).argmax(-1) == y).float().mean() for x, y in batches]
    return float(torch.stack(right).mean())
