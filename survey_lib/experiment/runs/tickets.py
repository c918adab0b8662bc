"""Sanity checks of a mask: whether its place in the network matters, and the weights it was found with."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from survey_lib.chain.masks import Masks
from survey_lib.chain.selection import keep_largest


def shuffled(masks: Masks, seed: int) -> Masks:
    """Each layer's mask with its entries in another random order: the same count a layer, other places.

    A method whose shuffled mask trains as well chose layer densities, not weights (frankle2021pruning).

    Parameters
    ----------
    masks : Masks
        {tensor name: bool}, True = kept.
    seed : int
        Seed of what is drawn at random.

    Examples
    --------
    >>> before = {"weight": torch.arange(12) < 3}
    >>> after = shuffled(before, seed=0)
    >>> int(after["weight"].sum()), torch.equal(after["weight"], before["weight"])
    (3, False)
    """
    generator = torch.Generator().manual_seed(seed)
    return {
        name: mask.flatten()[torch.randperm(mask.numel(), generator=generator)].view_as(mask)
        for name, mask in masks.items()
    }


def overlap(masks: Masks, weights: Mapping[str, Tensor]) -> float:
    """Share of the kept weights that are also among the largest `|w|`, as many in each layer.

    With the weights of the initialisation: how much of the mask the first weights decided. A mask with the
    same layer sizes, but chosen at random, has Σ k² / n over Σ k, for k of n weights kept in each layer.

    Parameters
    ----------
    masks : Masks
        {tensor name: bool}, True = kept.
    weights : Mapping[str, Tensor]
        Whose largest are compared.

    Examples
    --------
    >>> overlap({"weight": torch.tensor([True, True, False])}, {"weight": torch.tensor([3.0, 1.0, -2.0])})
    0.5
    """
    shared = sum(
        int((mask & keep_largest(weights[name].detach().abs(), int((~mask).sum()))).sum())
        for name, mask in masks.items()
    )
    return shared / max(sum(int(mask.sum()) for mask in masks.values()), 1)


def blend(first: nn.Module, second: nn.Module, share: float) -> nn.Module:
    """A copy of `first` with weights (1 − share) · first + share · second.

    Its batch norms need new statistics.

    Parameters
    ----------
    first : nn.Module
        A network.
    second : nn.Module
        One of the same shape.
    share : float
        Share of the second.

    Examples
    --------
    >>> one, two = nn.Linear(1, 1), nn.Linear(1, 1)
    >>> torch.equal(blend(one, two, 1.0).weight, two.weight)
    True
    """
    mixed, other = copy.deepcopy(first), dict(second.named_parameters())
    with torch.no_grad():
        for name, weight in mixed.named_parameters():
            weight.lerp_(other[name], share)
    return mixed
