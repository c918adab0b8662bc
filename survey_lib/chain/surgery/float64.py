"""Running a model for the check: in float64 without a second copy of it, its norms over kept channels.

A parameter is converted for the call that reads it and dropped afterwards; what a run may write to (buffers,
plain tensors) is converted once and kept for the run. So a check costs the activations and one layer.

Layer norm and the like differ between masked and cut by nature: zeros take part in the statistics.
Run over the kept channels, the two can still be compared exactly. The labels are followed through the masked model
itself, so it works at any input size.
"""

import contextlib
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import _disable_current_modes

from survey_lib.chain.coupling.groups import Coupling
from survey_lib.chain.coupling.readings import LabelledRun, plain_kernels
from survey_lib.chain.coupling.rules import table
from survey_lib.chain.inputs import leaves, plain_tensors

CASTS = {"float", "half", "bfloat16"}
NOISE = set("rand randn rand_like randn_like normal normal_ uniform_ bernoulli bernoulli_".split())
METADATA = set("dtype shape size dim ndim numel device requires_grad".split())  # read without a conversion


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
        short = _narrow(x, dims)
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
    return [_narrow(one, inner) if isinstance(one, Tensor) else one for one in values]


def _whole_groups(kept: Tensor, channels: int, groups: int) -> bool:
    """Whether not the same positions are kept in every group: then whole groups go, which are exact as they are."""
    grid = torch.zeros(channels, dtype=torch.bool).index_fill(0, kept.cpu(), True).view(groups, -1)
    return bool((grid != grid[0]).any())


def _narrow(x: Tensor, dims: dict[int, Tensor]) -> Tensor:
    """Only these positions of these axes."""
    for dim, index in dims.items():
        x = x.index_select(dim, index)
    return x


def _widen(x: Tensor, dims: dict[int, Tensor], shape) -> Tensor:
    for dim, index in dims.items():
        size = [*x.shape[:dim], shape[dim], *x.shape[dim + 1 :]]
        x = x.new_zeros(size).index_copy(dim, index, x)
    return x


def double(name: str, tensor: Tensor) -> Tensor:
    """A float64 copy, of complex numbers complex128; integers are copied as they are.

    Parameters
    ----------
    name : str
        Name of the tensor in the model.
    tensor : Tensor
        Tensor of any type.
    """
    return tensor.detach().to(_double_dtype(tensor.dtype), copy=True)


class Double(TorchFunctionMode):
    """Every number is float64: the model's tensors where they are used, `x.float()`, a stated float dtype.

    Random numbers are 1/2 and dropout does nothing, as the masked and the cut model would draw different ones.
    `value(name, tensor)` gives the float64 tensor that stands for one of the model's.
    """

    def __init__(self, model: nn.Module, value: Callable[[str, Tensor], Tensor], over_kept: OverKept | None):
        super().__init__()
        self.value, self.over_kept = value, over_kept
        own = [*model.named_parameters(), *model.named_buffers(), *(("", x) for x in plain_tensors(model))]
        self.own = own  # held, so that no other tensor gets the id of one that a forward replaces
        self.names = {id(x): name for name, x in own}
        self.held = {id(x): value(name, x) for name, x in own if not isinstance(x, nn.Parameter)}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        owner, name = getattr(func, "__self__", None), getattr(func, "__name__", "")
        name = owner.__name__ if name == "__get__" else name
        if name in METADATA:
            return _double_dtype(func(*args, **kwargs or {}))
        args, kwargs = pytree.tree_map(self._double, (tuple(args), kwargs or {}))
        if name in CASTS or "dropout" in name:
            return next(leaves([args, kwargs])).double()
        func = _grouped_mm if name.endswith("grouped_mm") else func
        return func(*args, **kwargs).fill_(0.5) if name in NOISE else func(*args, **kwargs)

    def _double(self, one):
        if isinstance(one, Tensor) and id(one) in self.names:
            return self.held[id(one)] if id(one) in self.held else self._converted(one)
        return _double_dtype(one)

    def _converted(self, tensor: Tensor) -> Tensor:
        with _disable_current_modes() if self.over_kept else contextlib.nullcontext():
            value = self.value(self.names[id(tensor)], tensor)
        # For a matrix that requires no gradient, matmul makes a product for each item of the batch
        value = nn.Parameter(value, tensor.requires_grad)
        if self.over_kept:
            self.over_kept.labels.put(value, self.over_kept.labels.axes(tensor), weight=True)
        return value


def _grouped_mm(a: Tensor, experts: Tensor, *, offs: Tensor, bias: Tensor | None = None, **_) -> Tensor:
    """Rows of `a` times the matrix of their expert, which torch has not in float64 (case B86)."""
    ends = offs.tolist()
    parts = [a[start:end] @ one for start, end, one in zip([0, *ends], ends, experts, strict=False)]
    out = torch.cat([*parts, a.new_zeros(len(a) - ends[-1], experts.shape[-1])])  # rows of no expert
    return out if bias is None else out + bias


def _double_dtype(one):
    if not isinstance(one, torch.dtype):
        return one
    return torch.float64 if one.is_floating_point else torch.complex128 if one.is_complex else one


def run(
    model: nn.Module, inputs, value: Callable = double, over_kept: OverKept | None = None
) -> list[Tensor]:
    """The outputs of a model in float64; the global default dtype and random state are put back.

    Parameters
    ----------
    model : nn.Module
        The network.
    inputs
        A tensor, tuple or dict.
    value : Callable, default double
        value(name, tensor): the float64 tensor that stands for one of the model's.
    over_kept : OverKept, optional
        Leaves removed channels out of norms.
    """
    default = torch.get_default_dtype()
    inputs = pytree.tree_map_only(Tensor, torch.clone, inputs)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.random.fork_rng(devices=[]), Double(model, value, over_kept), plain_kernels(model):
            return list(leaves(over_kept(inputs) if over_kept else model(*inputs[0], **inputs[1])))
    finally:
        torch.set_default_dtype(default)
