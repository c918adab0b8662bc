"""Sanity checks of a mask: does its place in the network matter, and do the weights it was found with?"""

from __future__ import annotations

import torch

from survey_lib.chain.masks import Masks

TICKETS = ("original", "shuffled", "reinitialised")


def shuffled(masks: Masks, seed: int) -> Masks:
    """Each layer's mask with its entries in another random order: the same count a layer, other places.

    A method whose shuffled mask trains as well chose layer densities, not weights (frankle2021pruning).

    >>> before = {"weight": torch.arange(12) < 3}
    >>> after = shuffled(before, seed=0)
    >>> int(after["weight"].sum()), torch.equal(after["weight"], before["weight"])
    (3, False)
    """
    generator = torch.Generator().manual_seed(seed)
    return {name: mask.flatten()[torch.randperm(mask.numel(), generator=generator)].view_as(mask)
            for name, mask in masks.items()}  # fmt: skip
