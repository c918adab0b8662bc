"""What Python knows and the dispatcher does not: which sizes were computed from a labelled axis.

Under `Sizes` the shape of a tensor gives `Size` for labelled axes, an int that survives + − * and //.
A view, slice or split that gets one adapts to a cut by itself; one with a plain number does not.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

STATED = set("view reshape unflatten split split_with_sizes __getitem__ narrow".split())
TO_PYTHON = set("tolist numpy __array__ __dlpack__ data_ptr".split())
NOTHING = np.zeros(0, int)  # labels of no axis


class Size(int):
    """An int that remembers the labels of the axis it was read from (of none once it is no multiple of it)."""

    labels: np.ndarray
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

    def _next(self, value, labels):
        """What arithmetic gives, a Size too if it is an int."""
        return Size.of(value, labels, self.numbers) if isinstance(value, int) else value

    def __mul__(self, other):
        return self._next(int(self) * other, self.labels)

    def __floordiv__(self, other):
        return self._next(int(self) // other, NOTHING if int(self) % other else self.labels)

    def __add__(self, other):
        return self._next(int(self) + other, NOTHING)

    def __sub__(self, other):
        return self._next(int(self) - other, NOTHING)

    def __neg__(self):
        return self._next(-int(self), self.labels)

    __rmul__, __radd__ = __mul__, __add__

    def __float__(self):
        self.numbers.append(self)
        return float(int(self))

    def __pow__(self, other):
        return float(self) ** other


class Sizes(TorchFunctionMode):
    """Tags sizes of labelled axes and notes how the call under way states its sizes."""

    def __init__(self, run):
        super().__init__()
        self.run, self.labels = run, run.labels

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if getattr(func, "__self__", None) is torch.Tensor.shape or func is torch.Tensor.size:
            return self._tag(args[0], *args[1:], **kwargs)
        if func is F.scaled_dot_product_attention and kwargs.get("scale") is None:
            width = self.labels.vector(args[0] if args else kwargs["query"], -1)
            self.labels.fix(width, "the default attention scale depends on the head width; give scale=")
        if func is F.multi_head_attention_forward:
            return self._multi_head(func, args, kwargs)
        if name in TO_PYTHON:
            self.run.look()
        if name in STATED:
            sizes = _numbers([*args[1:], *kwargs.values()])
            if name == "unflatten":  # its first number is the axis
                sizes = [1] * (sizes[0] % args[0].dim()) + sizes[1:]
            self.run.sizes = sizes
        try:
            return func(*args, **kwargs)
        finally:
            self.run.sizes = None

    def _tag(self, tensor, dim=None):
        axes, numbers = self.labels.axes(tensor), self.labels.numbers
        sizes = [Size.of(n, axes[d], numbers) if d in axes else n for d, n in enumerate(tensor.shape)]
        return torch.Size(sizes) if dim is None else sizes[dim]

    def _multi_head(self, func, args, kwargs):
        """Heads go whole, because the scale depends on their width; their number and the trunk's width agree."""
        query, width, heads, weight = args[0], int(args[3]), args[4], args[5]
        weight = kwargs.get("q_proj_weight") if weight is None else weight
        rows = self.labels.vector(weight, 0)[:width]
        self.labels.counted.append((self.labels.vector(query, -1), rows))
        if heads == 1:
            self.labels.fix(rows, "the attention scale depends on the width of the only head")
        self.labels.head_width = width // heads if heads > 1 else 0
        out = func(*args, **kwargs)
        self.labels.head_width = 0
        return out


def _numbers(items) -> list[int]:
    """All ints in nested arguments, the bounds of slices included."""
    leaves = pytree.tree_leaves(items)
    bounds = [x for one in leaves for x in ((one.start, one.stop) if isinstance(one, slice) else (one,))]
    return [one for one in bounds if isinstance(one, int)]
