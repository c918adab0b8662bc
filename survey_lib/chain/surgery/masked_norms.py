"""The masked model with its norms and channel reductions over kept channels only.

Layer norm and the like differ between masked and cut by nature: zeros take part in the statistics.
Run over the kept channels, the two can still be compared exactly. The labels are followed through the masked model
itself, so it works at any input size.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from survey_lib.chain.coupling.groups import Coupling
from survey_lib.chain.coupling.readings import LabelledRun
from survey_lib.chain.coupling.rules import table
from survey_lib.chain.inputs import leaves


class OverKept(LabelledRun):
    """A run in which flagged operations leave the removed channels out, where that makes a difference.

    needed: the modules where it did; if there are none, this was the plain run of the masked model.
    """

    def __init__(self, model: nn.Module, coupling: Coupling, keep: Mapping[str, Tensor]):
        super().__init__(model, coupling.second)
        self.alive, self.needed = coupling.alive(keep), {}

    def execute(self, func, args, kwargs, arguments):
        """Run an operation, over the kept channels alone where it is flagged."""
        rule, plain = table.rule_of(func), func(*args, **kwargs)
        over = OVER.get(rule)
        dims = self._partial(args[0], over(arguments, args[0])) if over else {}
        if not dims or (rule is table.group_norm and _whole_groups(dims[1], args[4], args[6])):
            return plain
        x, *others = args
        short = narrow(x, dims)
        if rule is table.layer_norm:
            first = x.dim() - len(others[0])
            others = [short.shape[first:], *_parameters(others[1:], dims, first)]
        if rule is table.group_norm:
            others = [*_parameters(others[:3], dims, 1), short.shape[1], *others[4:]]
        kept = func(short, *others, **kwargs)
        if rule is not table.reduce:
            kept = (_widen(kept[0], dims, x.shape), *kept[1:])
        if all(torch.allclose(a, b, 1e-13, 0) for a, b in zip(leaves(plain), leaves(kept), strict=True)):
            return plain
        self.needed[self.stack[-1] or f"the forward of {type(self.model).__name__}"] = None
        return kept

    def _partial(self, x: Tensor, dims) -> dict[int, Tensor]:
        """Kept positions of the axes that lose some."""
        kept = {dim: self.alive[self.labels.vector(x, dim)] for dim in dims}
        return {d: torch.from_numpy(np.flatnonzero(k)).to(x.device) for d, k in kept.items() if not k.all()}


# Each rule that flags, and the axes that it flags of an operation with these arguments
OVER = {
    table.reduce: table.named_axes,
    table.layer_norm: lambda arguments, x: range(x.dim() - len(arguments["normalized_shape"]), x.dim()),
    table.batch_norm: lambda arguments, x: [0, *range(2, x.dim())] if arguments.get("training") else [],
    table.group_norm: lambda arguments, x: [1],
}


def _parameters(values: list, dims: dict[int, Tensor], first: int) -> list:
    """Parameters of a norm, whose axes are those of its operand from this one on, at the kept positions."""
    inner = {dim - first: index for dim, index in dims.items()}
    return [narrow(one, inner) if isinstance(one, Tensor) else one for one in values]


def _whole_groups(kept: Tensor, channels: int, groups: int) -> bool:
    """Whether not the same positions are kept in every group: then whole groups go, which are exact as they are."""
    grid = torch.zeros(channels, dtype=torch.bool).index_fill(0, kept.cpu(), True).view(groups, -1)
    return bool((grid != grid[0]).any())


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
