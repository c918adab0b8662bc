"""One run of a model with labels carried beside every tensor, with all values or with shapes alone."""

import contextlib
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from survey_lib.chain.coupling.labels import Axes, Call, Labels
from survey_lib.chain.coupling.rules.table import ANEW, rule_of
from survey_lib.chain.coupling.sizes import Sizes
from survey_lib.chain.inputs import described, leaves
from survey_lib.eager import EagerMode

aten = torch.ops.aten
MATRICES = {aten.mm, aten.bmm, aten.addmm, aten.baddbmm}
PRODUCTS = MATRICES | {aten.convolution}
SPARSE = {aten._to_sparse, aten._to_sparse_csr, aten._to_sparse_csc}  # how many entries depends on values
READS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}


class LabelledRun(EagerMode):
    """Follows the labels through every operation the model runs; hooks stay on the model, a copy made for the run.

    second: see `Labels`.
    """

    looked = False  # at values that were not computed

    def __init__(self, model: nn.Module, second: frozenset[int] = frozenset()):
        super().__init__()
        self.model, self.labels = model, Labels(model, second)
        self.sizes: tuple[int, ...] | None = None  # those that the call under way states
        self.seen: set[int] = set()
        self.stack: list[str] = [""]
        self.widths: dict[str, dict[tuple, np.ndarray]] = {}
        self._watch()

    def __call__(self, inputs: tuple) -> object:
        """Run the model; what reaches the output is fixed."""
        with plain_kernels(self.model), Sizes(self), self:
            output = self.model(*inputs[0], **inputs[1])
        if not any(x.is_floating_point() or x.is_complex() for x in leaves(output)):
            what = "no floating tensor by which a cut could be checked; wrap it to return its scores"
            raise ValueError(f"the model returns {described(output)}, and {what}")
        named = dict(enumerate(output)) if isinstance(output, tuple) else output
        several = isinstance(named, dict) and len(named) > 1
        for number, (name, value) in enumerate(named.items() if several else [("", output)]):
            why = f"reaches the model's output {name!r}" if several else "reaches the model's output"
            # The first is what the model is for
            why += "; wrap the model to return only what you need" if number else ""
            for tensor in leaves(value):
                self.labels.fix_all(self.labels.axes(tensor), why)
        return output

    def _watch(self) -> None:
        """Keep the names of the modules under way."""
        for name, module in self.model.named_modules():
            module.register_forward_pre_hook(lambda *_, name=name: self.stack.append(name))
            module.register_forward_hook(self._leave, always_call=True)

    def _leave(self, *_) -> None:
        self.stack.pop()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, where = kwargs or {}, self.stack[-1]
        name = str(func.overloadpacket).removeprefix("aten.")
        defaults = _defaults(func)
        arguments = defaults | dict(zip(defaults, args, strict=False)) | kwargs
        out = self.execute(func, args, kwargs, arguments)
        module = self.model.get_submodule(where)
        call = Call(func, out, name, arguments, self.labels, module, where, self.sizes)
        self._follow(rule_of(func), call, args, kwargs)
        return out

    def execute(self, func, args, kwargs, arguments):
        """Run the operation itself.

        Parameters
        ----------
        func
            The operation.
        args
            Its arguments.
        kwargs
            Its named arguments.
        arguments
            All of them, by the names of its schema.
        """
        return func(*args, **kwargs)

    def look(self) -> None:
        """The forward takes values to Python, past the dispatcher."""

    def _follow(self, rule, call: Call, args, kwargs) -> None:
        tensors = list(leaves([args, kwargs]))
        self.seen.update(map(id, tensors))
        if any(self.labels.axes(x) for x in tensors) or not tensors:
            self.labels.here = f"{call.name} in {call.where}" if call.where else call.name
            found = rule(call, *args, **kwargs) if rule else call.unknown(*tensors)
            operands = [x for x in tensors if x.is_floating_point() and x.dim()]
            weight = rule not in ANEW and len(operands) > 0 and all(map(self.labels.weights.get, operands))
            found = found if isinstance(found, list) else [found]
            for tensor, axes in zip(leaves(call.out), found, strict=False):
                self.labels.put(tensor, axes, weight)
                self._note(self.labels.axes(tensor))

    def _note(self, axes: Axes) -> None:
        seen = self.widths.setdefault(self.stack[-1], {})
        for vector in axes.values():
            if vector.max() > 0:
                seen.setdefault((len(vector), int(vector[0]), int(vector[-1])), vector)


@cache
def _defaults(operation) -> dict[str, object]:
    """The arguments of an operation, by name, as they are where nobody states them."""
    return {argument.name: argument.default_value for argument in operation._schema.arguments}


@contextlib.contextmanager
def plain_kernels(model: nn.Module):
    """No gradients, no fused attention, no opaque recurrent kernel: every operation is seen."""
    fast, onednn = torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    if any(isinstance(module, nn.RNNBase) for module in model.modules()):
        torch._C._set_mkldnn_enabled(False)
    try:
        with torch.inference_mode(False), torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        torch._C._set_mkldnn_enabled(onednn)


class ShapesRun(LabelledRun):
    """A run without products: labels follow from shapes, so zeros stand for what products would return.

    No rule looks at values. Only a forward can, in a branch or where a shape depends on them; then all must be
    computed: this run stops, and `looked` says so even where the forward goes on regardless. Products of constants
    always are: a forward may keep them, such as a table of positions, where other calls find them.
    """

    def execute(self, func, args, kwargs, arguments):
        """Run an operation, unless it is a product of channels."""
        operation = func.overloadpacket
        places = operation is aten.index and all(x is None or x.dtype.itemsize > 1 for x in args[1])
        looks = operation in SPARSE or not (places or READS.isdisjoint(func.tags))
        if looks or func.namespace != "aten":  # operations of one's own may look, and no tag says so
            self.look()
        channels = any((vector > 0).any() for x in args for vector in self.labels.axes(x).values())
        shape = _shape(operation, args) if operation in PRODUCTS and channels else None
        return args[0].new_zeros(shape) if shape else func(*args, **kwargs)

    def look(self) -> None:
        """The forward looks at values."""
        self.looked = True
        raise ValueError("values are not computed in this run")


def _shape(operation, args) -> tuple[int, ...] | None:
    """The shape of a product; None where the operation itself must say what is wrong, or how it lays out its result."""
    if len({(x.dtype, x.device) for x in args if isinstance(x, Tensor)}) > 1:
        return None
    if operation in MATRICES:
        a, b = args[-2:]
        fits = a.shape[-1] == b.shape[-2] and a.shape[:-2] == b.shape[:-2]
        return (*a.shape[:-1], b.shape[-1]) if fits else None
    x, weight, _, stride, padding, dilation, transposed, _, groups = args
    fits = x.shape[1] == groups * weight.shape[1] and x.is_contiguous() and weight.is_contiguous()
    axes = zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    sizes = [(n + 2 * pad - spread * (k - 1) - 1) // step + 1 for n, k, step, pad, spread in axes]
    return (len(x), len(weight), *sizes) if fits and not transposed and min(sizes) > 0 else None
