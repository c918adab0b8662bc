"""One run of a model with labels carried beside every tensor."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from survey_lib.chain.coupling.call import Call
from survey_lib.chain.coupling.labels import Axes, Labels
from survey_lib.chain.coupling.rules.table import rule_of
from survey_lib.chain.coupling.sizes import Size, Sizes
from survey_lib.chain.inputs import described, leaves
from survey_lib.eager import EagerMode

NO_WIDTHS = {"stride", "padding", "dilation", "kernel_size", "output_padding"}  # no cut changes them


@dataclass(frozen=True)
class Choice:
    """An operation that could be read in two ways; of a split, the axis that took the labels, as the forward states it."""

    labels: np.ndarray
    module: str
    width: int
    size: int | None


class LabelledRun(EagerMode):
    """Follows the labels through every operation the model runs; hooks stay on the model, a copy made for the run.

    second: ambiguous operations, by their number in the run, to be read the second way.
    """

    looked = False  # at values that were not computed

    def __init__(self, model: nn.Module, second: frozenset[int] = frozenset()):
        super().__init__()
        self.model, self.labels, self.second = model, Labels(model), second
        self.choices: list[Choice] = []
        self.counting = True
        # Multiply-adds, and the axes they scale with
        self.products: list[tuple[int, tuple[np.ndarray, ...]]] = []
        self.numbers: list[Size] = []  # sizes that were used as a number, such as an attention scale
        self.head_width = 0  # inside multi-head attention
        self.hint: tuple[int, ...] | None = None  # the sizes that the call under way states
        self.seen: set[int] = set()
        self.stack: list[str] = [""]
        self.widths: dict[str, dict[tuple, np.ndarray]] = {}
        self.attributes: dict[tuple[str, str], np.ndarray | list[np.ndarray]] = {}
        self._watch()

    def __call__(self, inputs: tuple) -> object:
        """Run the model; what reaches the output is fixed."""
        with plain_kernels(self.model), Sizes(self), self:
            output = self.model(*inputs[0], **inputs[1])
        if not any(x.is_floating_point() or x.is_complex() for x in leaves(output)):
            what = "no floating tensor by which a cut could be checked; wrap it to return its scores"
            raise ValueError(f"the model returns {described(output)}, and {what}")
        for why, value in _outputs(output):
            for tensor in leaves(value):
                self.labels.fix_all(self.labels.axes(tensor), why)
        return output

    @property
    def module(self) -> nn.Module:
        """The module under way."""
        return self.model.get_submodule(self.stack[-1])

    def _watch(self) -> None:
        """Keep the names of the modules under way."""
        for name, module in self.model.named_modules():
            module.register_forward_pre_hook(lambda *_, name=name: self.stack.append(name))
            module.register_forward_hook(self._leave, always_call=True)

    def _leave(self, *_) -> None:
        self.stack.pop()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        rule = rule_of(func)
        if rule is None and func.overloadpacket not in _SILENT:
            decomposed = func.decompose(*args, **kwargs)
            if decomposed is not NotImplemented:
                return decomposed
        name = str(func.overloadpacket).removeprefix("aten.")
        defaults = _defaults(func)
        arguments = defaults | dict(zip(defaults, args, strict=False)) | kwargs
        out = self.execute(func, args, kwargs, arguments)
        self._follow(rule, Call(func, out, name, arguments, self.labels, self), args, kwargs)
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
            self.labels.here = f"{call.name} in {self.stack[-1]}" if self.stack[-1] else call.name
            found = rule(call, *args, **kwargs) if rule else call.unknown(*tensors)
            results = [call.out] if isinstance(call.out, Tensor) else list(leaves(call.out))
            for tensor, axes in zip(results, found if isinstance(found, list) else [found], strict=False):
                self.labels.put(tensor, axes)
                self._note(self.labels.axes(tensor))

    def _note(self, axes: Axes) -> None:
        seen = self.widths.setdefault(self.stack[-1], {})
        for vector in axes.values():
            if vector.max() > 0:
                seen.setdefault((len(vector), int(vector[0]), int(vector[-1])), vector)

    def choose(self, order: list[int], labels: np.ndarray, sizes: Sequence[int | None] = ()) -> int:
        """The first of the ways to read an operation, or the second where an earlier run asked for it.

        Parameters
        ----------
        order : list[int]
            The ways to read it.
        labels : np.ndarray
            The labels that the operation is about.
        sizes : Sequence[int | None], default ()
            Of a split: as the forward states the size of each axis that may take the labels, None if it does not.
        """
        if len(order) == 1 or not (labels > 0).any():
            return order[0]
        pick = order[len(self.choices) in self.second]
        split = (labels.shape[pick], sizes[pick]) if sizes else (0, None)
        self.choices.append(Choice(np.unique(labels), self.stack[-1], *split))
        return pick

    def multiply(self, macs: int, *vectors: np.ndarray) -> None:
        """Note the multiply-adds of an operation.

        Parameters
        ----------
        macs : int
            Number of multiply-adds.
        *vectors : np.ndarray
            Labels of all axes they are proportional to.
        """
        if self.counting and not self.model.training:
            self.products.append((macs, tuple(vector for vector in vectors if (vector > 0).any())))

    def attribute(self, name: str, channels) -> None:
        """Note that this attribute of the module under way counts these channels.

        Parameters
        ----------
        name : str
            Name of the attribute.
        channels
            labels, or a tuple of them.
        """
        if isinstance(getattr(self.module, name, None), (int, tuple, list)):
            self.attributes[self.stack[-1], name] = channels

    def follow(self, axes: dict[int, np.ndarray]) -> set[int]:
        """Integer attributes of the module under way that state the size of one of these axes follow a cut of it.

        Parameters
        ----------
        axes : dict[int, np.ndarray]
            Labels of each axis, by its size.

        Returns
        -------
        set[int]
            The sizes that are stated.
        """
        held = {
            n: v for n, v in vars(self.module).items() if type(v) is int and v in axes and n not in NO_WIDTHS
        }
        self.attributes |= {(self.stack[-1], name): axes[value] for name, value in held.items()}
        return set(held.values())


@cache
def _defaults(operation) -> dict[str, object]:
    """The arguments of an operation, by name, as they are where nobody states them."""
    return {argument.name: argument.default_value for argument in operation._schema.arguments}


_SILENT = {torch.ops.aten.sym_size, torch.ops.aten._local_scalar_dense}


def _outputs(output) -> list[tuple[str, object]]:
    """(reason, value) of each output; the first is what the model is for, others may be left out by a wrapper."""
    named = dict(enumerate(output)) if isinstance(output, tuple) else output
    if not isinstance(named, dict) or len(named) < 2:
        return [("reaches the model's output", output)]
    hints = ["", *["; wrap the model to return only what you need"] * (len(named) - 1)]
    return [
        (f"reaches the model's output {name!r}{hint}", named[name])
        for name, hint in zip(named, hints, strict=True)
    ]


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
