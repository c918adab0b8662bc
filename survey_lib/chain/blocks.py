"""Residual blocks of a network: found by running it, observed, and left out whole.

A block is a module that adds its own input to what it computed and returns the input's shape: residual blocks
and transformer layers, not the containers around them. Without the block the input passes through, and since
its branches are all that is lost, setting all its parameters to zero has the same effect wherever the block
ends in the addition (or in a ReLU of values that are not negative).
"""

from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from survey_lib.chain.evidence import weights as observe
from survey_lib.chain.evidence.base import Evidence, layer_seed, pairs
from survey_lib.chain.inputs import duplicate, unwrap
from survey_lib.chain.masks import Masks
from survey_lib.eager import EagerMode

ADDITIONS = {torch.ops.aten.add.Tensor, torch.ops.aten.add_.Tensor}


class Skip(nn.Module):
    """Stands where a block was: returns the first input, whatever else the block was called with."""

    def forward(self, x: Tensor, *_, **__) -> Tensor:
        """The first input."""
        return x


class _Additions(EagerMode):
    """Notes the modules that add their own input to something computed, while they are the innermost running.

    Adding a parameter or buffer, as to embed positions, makes no block.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.stored = {_storage(tensor) for tensor in (*model.parameters(), *model.buffers())}
        self.running: list[tuple[str, list[Tensor]]] = []  # with the first input, if it is a tensor
        self.adding: set[str] = set()

    def enter(self, name: str, inputs: tuple) -> None:
        self.running.append((name, [x for x in inputs[:1] if isinstance(x, Tensor)]))

    def leave(self, name: str, output) -> None:
        _, first = self.running.pop()
        if not isinstance(output, Tensor) or [x.shape for x in first] != [output.shape]:
            self.adding.discard(name)

    def __torch_dispatch__(self, operation, types, inputs=(), options=None):
        if operation in ADDITIONS and self.running:
            name, first = self.running[-1]
            operands = [x for x in inputs[:2] if isinstance(x, Tensor)]
            own = any(x.data_ptr() == y.data_ptr() and x.shape == y.shape for x in first for y in operands)
            if own and self.stored.isdisjoint(map(_storage, operands)):
                self.adding.add(name)
        return operation(*inputs, **(options or {}))


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def blocks(model: nn.Module, example) -> list[str]:
    """Names of the residual blocks, in the order of the model; inside a block no further one is listed.

    Parameters
    ----------
    model : nn.Module
        The network.
    example : tensor, tuple or dict
        An input of its forward.

    Examples
    --------
    >>> class Residual(nn.Linear):
    ...     def forward(self, x): return x + super().forward(x)
    >>> blocks(nn.Sequential(Residual(2, 2), nn.Linear(2, 2)), torch.ones(1, 2))
    ['0']
    """
    subject = duplicate(unwrap(model)).eval()
    watch = _Additions(subject)
    for name, module in subject.named_modules():
        module.register_forward_pre_hook(lambda _, inputs, name=name: watch.enter(name, inputs))
        module.register_forward_hook(lambda _, inputs, output, name=name: watch.leave(name, output))
    with torch.no_grad(), torch.random.fork_rng(), watch:
        observe.call(subject, example)
    found: list[str] = []
    for name, _ in subject.named_modules():
        if name in watch.adding and not any(name.startswith(f"{outer}.") for outer in found):
            found.append(name)
    return found


def collect(model: nn.Module, names: Iterable[str], batches: Iterable, seed: int = 0) -> dict[str, Evidence]:
    """Evidence of each block: `act_in` and `act_out` before and after it.

    Both are (examples, channels, positions...). `weight` is all of the block's parameters, laid flat. The
    channel axis is 1 where the block convolves, else the last one. Works on a copy in eval mode.

    Parameters
    ----------
    model : nn.Module
        The network.
    names : Iterable[str]
        Names of blocks.
    batches : Iterable
        (input, target) pairs.
    seed : int, default 0
        Seed of what is drawn at random.
    """
    subject = duplicate(unwrap(model)).eval()
    seen = {name: ([], []) for name in names}

    def watch(name: str, block: nn.Module, inputs: tuple, output: Tensor) -> None:
        axis = 1 if any(isinstance(layer, _ConvNd) for layer in block.modules()) else -1
        for values, x in zip(seen[name], (inputs[0], output), strict=True):
            values.append(x.clone().movedim(axis, 1))

    for name in seen:
        subject.get_submodule(name).register_forward_hook(partial(watch, name))
    with torch.no_grad(), torch.random.fork_rng():
        for x, _ in pairs(batches):
            observe.call(subject, x)
    found = {}
    for name, (before, after) in seen.items():
        weight = torch.cat([p.detach().flatten() for p in subject.get_submodule(name).parameters()])
        maps = {"act_in": torch.cat(before), "act_out": torch.cat(after)}
        found[name] = Evidence(name, weight, layer_seed(seed, name), **maps)
    return found


def remove(model: nn.Module, names: Iterable[str]) -> nn.Module:
    """A copy of the model without the named blocks.

    Parameters
    ----------
    model : nn.Module
        The network.
    names : Iterable[str]
        Names of blocks.
    """
    small = duplicate(unwrap(model))
    for name in names:
        parent, _, child = name.rpartition(".")
        setattr(small.get_submodule(parent), child, Skip())
    return small


def block_masks(model: nn.Module, names: Iterable[str]) -> Masks:
    """Masks that zero every parameter of the named blocks, so that only the shortcut is left.

    Parameters
    ----------
    model : nn.Module
        The network.
    names : Iterable[str]
        Names of blocks.
    """
    return {
        f"{name}.{inner}": torch.zeros_like(parameter, dtype=torch.bool)
        for name in names
        for inner, parameter in unwrap(model).get_submodule(name).named_parameters()
    }
