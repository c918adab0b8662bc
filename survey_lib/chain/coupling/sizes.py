"""What Python knows and the dispatcher does not: which sizes were computed from a labelled axis.

Under `Sizes` the shape of a tensor gives `Size` for labelled axes, an int that survives + − * // and %.
A view, slice or split that gets one adapts to a cut by itself; one with a plain number does not.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

STATED = set("view reshape unflatten split split_with_sizes __getitem__ narrow".split())
TO_PYTHON = set("tolist numpy __array__ __dlpack__ data_ptr".split())


class Size(int):
    """An int that remembers the labels of the axis it was read from (None once it is no multiple of it)."""

    labels: np.ndarray | None
    numbers: list[Size]

    @classmethod
    def of(cls, value: int, labels, numbers: list) -> Size:
        """The int `value` with the labels of its axis.

        Parameters
        ----------
        value : int
            The size of the axis.
        labels
            Labels of the axis.
        numbers : list
            Where sizes that are computed from it are noted.
        """
        size = cls(value)
        size.labels, size.numbers = labels, numbers
        return size

    def _next(self, value, multiple: bool):
        """What arithmetic gives, a Size too if it is an int."""
        known = isinstance(value, int)
        return Size.of(value, self.labels if multiple else None, self.numbers) if known else value

    def __mul__(self, other):
        return self._next(int(self) * other, True)

    def __floordiv__(self, other):
        return self._next(int(self) // other, int(self) % other == 0)

    def __add__(self, other):
        return self._next(int(self) + other, False)

    def __sub__(self, other):
        return self._next(int(self) - other, False)

    def __rsub__(self, other):
        return self._next(other - int(self), False)

    def __mod__(self, other):
        return self._next(int(self) % other, False)

    def __neg__(self):
        return self._next(-int(self), True)

    __rmul__, __radd__ = __mul__, __add__

    def __float__(self):
        self.numbers.append(self)
        return float(int(self))

    def __pow__(self, other, modulo=None):
        return float(self) ** other

    def __truediv__(self, other):
        return float(self) / other

    def __rtruediv__(self, other):
        return other / float(self)


class Sizes(TorchFunctionMode):
    """Tags sizes of labelled axes and notes how the call under way states its sizes."""

    def __init__(self, run):
        super().__init__()
        self.run = run

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if getattr(func, "__self__", None) is torch.Tensor.shape or func is torch.Tensor.size:
            return self._tag(args[0], func(*args, **kwargs), args[1:], kwargs)
        if func is F.scaled_dot_product_attention:
            self._attention(*args, **kwargs)
        if func is F.multi_head_attention_forward:
            return self._multi_head(func, args, kwargs)
        if name in TO_PYTHON:
            self.run.look()
        if name in STATED:
            sizes = tuple(_numbers([*args[1:], *kwargs.values()]))
            front = (1,) * (sizes[0] % args[0].dim()) if name == "unflatten" else None
            self.run.hint = sizes if front is None else front + sizes[1:]
        try:
            return func(*args, **kwargs)
        finally:
            self.run.hint = None

    def _tag(self, tensor, sizes, args, kwargs):
        axes, numbers = self.run.labels.axes(tensor), self.run.numbers
        if isinstance(sizes, int):
            dim = (args[0] if args else kwargs["dim"]) % tensor.dim()
            return Size.of(sizes, axes[dim], numbers) if dim in axes else sizes
        return torch.Size([Size.of(n, axes[d], numbers) if d in axes else n for d, n in enumerate(sizes)])

    def _attention(self, query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, **_):
        if scale is None:
            width = self.run.labels.vector(query, -1)
            self.run.labels.fix(width, "the default attention scale depends on the head width; give scale=")

    def _multi_head(self, func, args, kwargs):
        """Heads go whole, because the scale depends on their width; their number and the trunk's width agree."""
        query, width, heads, weight = args[0], int(args[3]), args[4], args[5]
        weight = kwargs.get("q_proj_weight") if weight is None else weight
        rows = self.run.labels.vector(weight, 0)[:width]
        self.run.labels.counted.append((self.run.labels.vector(query, -1), rows))
        if heads == 1:
            self.run.labels.fix(rows, "the attention scale depends on the width of the only head")
        self.run.head_width = width // heads if heads > 1 else 0
        try:
            return func(*args, **kwargs)
        finally:
            self.run.head_width = 0


def _numbers(items) -> Iterator[int]:
    """All ints in nested arguments, the bounds of slices included."""
    for item in pytree.tree_leaves(items):
        bounds = (item.start, item.stop) if isinstance(item, slice) else (item,)
        yield from (one for one in bounds if isinstance(one, int))
