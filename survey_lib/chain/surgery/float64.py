"""Running a float32 model in float64 without a second copy of it.

A parameter is converted for the call that reads it and dropped afterwards; what a run may write to (buffers,
plain tensors) is converted once and kept for the run. So a check costs the activations and one layer.
"""

import contextlib
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import _disable_current_modes

from survey_lib.chain.coupling.readings import plain_kernels
from survey_lib.chain.inputs import leaves, plain_tensors
from survey_lib.chain.surgery.masked_norms import OverKept

CASTS = {"float", "half", "bfloat16"}
NOISE = set("rand randn rand_like randn_like normal normal_ uniform_ bernoulli bernoulli_".split())
METADATA = set("dtype shape size dim ndim numel device requires_grad".split())  # read without a conversion


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
        args, kwargs = self._double(tuple(args)), self._double(kwargs or {})
        if name in CASTS or "dropout" in name:
            return next(leaves([args, kwargs])).double()
        func = _grouped_mm if name.endswith("grouped_mm") else func
        return func(*args, **kwargs).fill_(0.5) if name in NOISE else func(*args, **kwargs)

    def _double(self, one):
        if type(one) in (list, tuple):
            return type(one)(map(self._double, one))
        if type(one) is dict:
            return {key: self._double(value) for key, value in one.items()}
        if isinstance(one, Tensor) and id(one) in self.names:
            return self.held[id(one)] if id(one) in self.held else self._converted(one)
        return _double_dtype(one)

    def _converted(self, tensor: Tensor) -> Tensor:
        with _disable_current_modes() if self.over_kept else contextlib.nullcontext():
            value = self.value(self.names[id(tensor)], tensor)
        # For a matrix that requires no gradient, matmul makes a product for each item of the batch
        value = nn.Parameter(value, tensor.requires_grad)
        if self.over_kept:
            self.over_kept.labels.known[value] = self.over_kept.labels.axes(tensor)
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
