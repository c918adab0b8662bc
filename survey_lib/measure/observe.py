"""Run a model for measuring: eval mode, no gradients, and everything put back, exceptions included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from survey_lib.chain import masks as masking

Example = Tensor | tuple | list | Mapping


@contextmanager
def quiet(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients inside; mode and attributes of each module and the random state as
    found after. Values that a forward writes into buffers in place are not undone."""
    found = {module: (module.training, dict(vars(module))) for module in model.modules()}
    with torch.random.fork_rng(), torch.no_grad():
        model.eval()
        try:
            yield
        finally:
            for module, (mode, attributes) in found.items():
                vars(module).clear()
                vars(module).update(attributes)
                module.training = mode


def as_inputs(example: Example) -> tuple[tuple, dict]:
    """Positional and named inputs of the model's forward."""
    if isinstance(example, Tensor):
        return (example,), {}
    return ((), dict(example)) if isinstance(example, Mapping) else (tuple(example), {})


def effective(model: nn.Module, masks: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Parameters as the forward uses them: masks applied, hooks of `torch.nn.utils.prune` resolved.

    >>> int(effective(nn.Linear(2, 1), {"weight": torch.tensor([[True, False]])})["weight"].count_nonzero())
    1
    """
    masking.check(model, masks or {})
    known, buffers = masking.tensors(model), dict(model.named_buffers())
    removed = {id(known[name]): mask for name, mask in (masks or {}).items()}  # shared weights: any name
    used = {}
    for name, parameter in model.named_parameters():
        mask = removed.get(id(parameter), buffers.get(name.removesuffix("_orig") + "_mask"))
        weight = parameter.detach()
        used[name] = weight if mask is None else weight * mask.to(weight)
    return used
