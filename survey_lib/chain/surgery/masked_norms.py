"""The masked model with its norms and channel reductions over kept channels only.

Layer norm and the like differ between masked and cut by nature: zeros take part in the statistics.
Run over the kept channels, the two can still be compared exactly. The labels are followed through the masked model
itself, so it works at any input size.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from survey_lib.chain.copies import leaves
from survey_lib.chain.coupling.groups import Coupling
from survey_lib.chain.coupling.labels import Labels
from survey_lib.chain.coupling.readings import LabelledRun
from survey_lib.chain.coupling.rules.grouped import group_norm
from survey_lib.chain.coupling.rules.table import (
    batch_norm,
    layer_norm,
    named_axes,
    reduce,
    rule_of,
)


class OverKept(LabelledRun):
    """A run in which flagged operations leave the removed channels out, where that makes a difference.

    needed: the modules where it did; if there are none, this was the plain run of the masked model.
    """

    def __init__(self, model: nn.Module, coupling: Coupling, keep: Mapping[str, Tensor]):
        super().__init__(model, Labels(model), coupling.second)
        self.alive, self.needed = coupling.alive(keep), {}

    def execute(self, func, args, kwargs, arguments):
        """Run an operation, over the kept channels alone where it is flagged."""
        rule, plain = rule_of(func), func(*args, **kwargs)
        if rule is reduce:
            dims = self._partial(args[0], named_axes(arguments, args[0]))
            return self._either(plain, func(narrow(args[0], dims), *args[1:], **kwargs) if dims else plain)
        if rule is layer_norm:
            return self._either(plain, self._layer_norm(func, *args))
        if rule is batch_norm and arguments.get("training"):
            return self._either(plain, self._batch_norm(func, *args))
        if rule is group_norm:
            return self._either(plain, self._group_norm(func, *args))
        return plain

    def _either(self, plain, kept):
        """The plain result where the two are the same but for rounding."""
        if all(torch.allclose(a, b, 1e-13, 0) for a, b in zip(leaves(plain), leaves(kept), strict=True)):
            return plain
        self.needed[self.stack[-1] or f"the forward of {type(self.model).__name__}"] = None
        return kept

    def _partial(self, x: Tensor, dims) -> dict[int, Tensor]:
        """Kept positions of the axes that lose some."""
        found = {}
        for dim in dims:
            kept = self.alive[self.labels.vector(x, dim)]
            if not kept.all():
                found[dim] = torch.from_numpy(np.flatnonzero(kept)).to(x.device)
        return found

    def _layer_norm(self, func, x, shape, *parameters):
        first = x.dim() - len(shape)
        dims = self._partial(x, range(first, x.dim()))
        inner = {dim - first: index for dim, index in dims.items()}
        parameters = [narrow(p, inner) if isinstance(p, Tensor) else p for p in parameters]
        kept = narrow(x, dims)
        result, *others = func(kept, kept.shape[first:], *parameters)
        return _widen(result, dims, x.shape), *others

    def _batch_norm(self, func, x, *others):
        dims = self._partial(x, [dim for dim in range(x.dim()) if dim != 1])
        result, *statistics = func(narrow(x, dims), *others)
        return _widen(result, dims, x.shape), *statistics

    def _group_norm(self, func, x, weight, bias, batch, channels, positions, groups, eps):
        dims = self._partial(x, [1])
        if dims:
            kept = np.isin(np.arange(channels), dims[1].cpu().numpy()).reshape(groups, -1)
            if (kept != kept[0]).any():  # whole groups are exact as they are
                dims = {}
        weight, bias = (
            None if p is None else narrow(p, {d - 1: i for d, i in dims.items()}) for p in (weight, bias)
        )
        kept = narrow(x, dims).contiguous()
        result, *others = func(kept, weight, bias, batch, kept.shape[1], positions, groups, eps)
        return _widen(result, dims, x.shape), *others


def narrow(x: Tensor, dims: dict[int, Tensor]) -> Tensor:
    """Only these positions of these axes.

    Parameters
    ----------
    x : Tensor
        Of any shape.
    dims : dict[int, Tensor]
        {axis: positions}.
    """
    for dim, index in dims.items():
        x = x.index_select(dim, index)
    return x


def _widen(x: Tensor, dims: dict[int, Tensor], shape) -> Tensor:
    for dim, index in dims.items():
        size = [*x.shape[:dim], shape[dim], *x.shape[dim + 1 :]]
        x = x.new_zeros(size).index_copy(dim, index, x)
    return x
