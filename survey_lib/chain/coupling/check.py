"""Masked equals cut, in float64: what carries the soundness of every cut.

The check is against another batch, and where the model takes it another size, than the trace saw. Norms and
layer scales are randomised first, because zeros, ones and 1e-6 of a fresh model hide errors.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from survey_lib.chain import masks
from survey_lib.chain.coupling.groups import Coupling, group_masks, removed
from survey_lib.chain.coupling.kept import OverKept
from survey_lib.chain.coupling.run import leaves, plain_kernels
from survey_lib.chain.coupling.slim import Attributes, new_attributes, plain_tensors, repair, slim
from survey_lib.chain.coupling.trace import arguments

TOLERANCE = 1e-9  # relative; in float32 and 1e-5 a quarter of the wrong cuts would pass
ROUNDS = 12


class Check:
    """Compares the masked and the cut model for sets of groups.

    problem(keep) is empty where the two agree; then `attributes` holds what the cut model needs and
    `over_kept` says whether norms had to be taken over the kept channels.
    """

    def __init__(self, model: nn.Module, coupling: Coupling, example):
        self.coupling = coupling
        self.dense = randomised(model)
        self.inputs = self._first_accepted(arguments(example))
        self.attributes: Attributes = {}
        self.over_kept = False

    def _first_accepted(self, example):
        for inputs in variants(example):
            try:
                run(self.dense, inputs)
                return inputs
            except Exception as refused:  # a model may take one size only
                error = refused
        raise ValueError(f"the model does not run on its example in float64: {error}") from error

    def problem(self, keep: Mapping[str, Tensor]) -> str:
        alive, gone = self.coupling.alive(keep), removed(self.coupling, keep)
        attributes = new_attributes(self.dense, self.coupling, gone, alive)
        small = slim(self.dense, gone, attributes)
        for _ in range(ROUNDS):
            try:
                found = run(small, self.inputs)
                break
            except Exception as error:  # whatever a wrong width makes a forward raise
                change = repair(error, small, self.coupling, alive)
                attributes |= change
                if not change:
                    return f"the cut model fails: {' '.join(str(error).split())[:200]}"
        else:
            return "the cut model still fails after repairing its attributes"
        over_kept = False
        if not equal(self._masked(keep, False), found):
            over_kept = any(self.coupling[name].flags for name in keep)
            if not over_kept or not equal(self._masked(keep, True), found):
                return "the cut model computes something else than the masked one"
        self.attributes, self.over_kept = attributes, over_kept
        return ""

    def _masked(self, keep, over_kept: bool) -> list[Tensor]:
        masked = masks.apply(slim(self.dense, {}, {}), group_masks(self.dense, self.coupling, keep))
        return run(masked, self.inputs, OverKept(masked, self.coupling, keep) if over_kept else None)


class Double(TorchFunctionMode):
    """`x.float()` or a stated float dtype stays float64 in the check."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__name__", "") in ("float", "half", "bfloat16"):
            return args[0].double()
        args, kwargs = pytree.tree_map_only(torch.dtype, _double, (args, kwargs or {}))
        return func(*args, **kwargs)


def _double(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype.is_floating_point else dtype


@contextlib.contextmanager
def float64():
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.random.fork_rng(devices=[]), Double():
            yield
    finally:
        torch.set_default_dtype(default)


def run(model: nn.Module, inputs, over_kept: OverKept | None = None) -> list[Tensor]:
    inputs = pytree.tree_map_only(Tensor, torch.clone, inputs)
    with float64(), plain_kernels(model):
        return list(leaves(over_kept(inputs) if over_kept else model(*inputs[0], **inputs[1])))


def equal(expected: list[Tensor], found: list[Tensor]) -> bool:
    """All outputs agree to 1e-9 of their largest value, none is NaN."""
    if [x.shape for x in expected] != [x.shape for x in found]:
        return False
    return all(error(a, b) <= TOLERANCE for a, b in zip(expected, found, strict=True) if a.numel())


def error(expected: Tensor, found: Tensor) -> float:
    """max |a − b| / max |a|; infinite where something is not finite."""
    if not (torch.isfinite(expected).all() and torch.isfinite(found).all()):
        return float("inf")
    return float((expected.double() - found.double()).abs().max() / expected.double().abs().max().clamp(min=1e-30))


def randomised(model: nn.Module) -> nn.Module:
    """A float64 copy in evaluation mode; statistics, and parameters that are constant or tiny, are random."""
    generator = torch.Generator().manual_seed(0)
    replaced = {}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        value = tensor.detach().double() if tensor.is_floating_point() else tensor.detach().clone()
        kind = name.rpartition(".")[2]
        constant = tensor.is_floating_point() and tensor.numel() and value.std(correction=0) <= 1e-3 * value.abs().max()
        if kind in ("running_mean", "running_var") or (isinstance(tensor, nn.Parameter) and constant):
            noise = torch.rand(value.shape, generator=generator, dtype=torch.float64).to(value.device)
            value = noise - 0.5 if kind in ("running_mean", "bias") else noise + 0.5
        replaced[id(tensor)] = nn.Parameter(value, False) if isinstance(tensor, nn.Parameter) else value
    for tensor in plain_tensors(model):
        replaced[id(tensor)] = tensor.detach().double() if tensor.is_floating_point() else tensor.detach()
    return copy.deepcopy(model, replaced).eval()


def variants(example) -> Iterator:
    """Inputs of other sizes than the example, the most different first: size and batch, length and batch, batch."""
    generator = torch.Generator().manual_seed(0)

    def change(x: Tensor, grown: str) -> Tensor:
        shape = list(x.shape)
        if shape:
            shape[0] = 3 if shape[0] == 2 else 2
        if grown == "size" and x.dim() >= 4:
            shape[-2:] = [n // 2 if n >= 128 else n + 8 for n in shape[-2:]]
        if grown == "length" and x.dim() in (2, 3) and (x.dim() == 3 or not x.is_floating_point()):
            shape[1] += 1
        if x.is_floating_point():
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(x.device)
        for dim, size in enumerate(shape):
            x = x.index_select(dim, torch.arange(size, device=x.device) % x.shape[dim])
        return x

    for grown in ("size", "length", ""):
        yield pytree.tree_map_only(Tensor, lambda x, grown=grown: change(x, grown), example)
    yield pytree.tree_map_only(Tensor, lambda x: x.double() if x.is_floating_point() else x, example)
