"""during(model, method, sparsity, optimizer, steps): a training-time method by its name in the catalogue."""

from __future__ import annotations

import torch
from torch import nn

from survey_lib.catalogue import find
from survey_lib.chain.during import Session, start


def during(model: nn.Module, method: str, sparsity: float, optimizer: torch.optim.Optimizer, steps: int, *,
           example=None, seed: int = 0) -> Session:  # fmt: skip
    """Prune while training, in your own loop: begin a session, train `steps` optimizer steps, finish it.

    Only the optimizer's step hooks are used; `session.masks` are the current masks and `session.finish()`
    takes the hooks away and returns the final ones, with the asked sparsity.
    Raises ValueError for an unknown method, one that does not live in training, or a sparsity outside [0, 1).

    >>> layer = nn.Linear(4, 4); optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> session = during(layer, "gradual", 0.5, optimizer, steps=1)
    >>> layer(torch.ones(1, 4)).sum().backward(); optimizer.step(); int(session.finish()["weight"].sum())
    8
    """
    return start(model, find(method), sparsity, optimizer, steps, example=example, seed=seed)
