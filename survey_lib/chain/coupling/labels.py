"""Labels: which channel each position of an axis belongs to, and the calls that pass them on.

A tensor carries {axis: vector}, one label for each position. Labels are counted through all parameters and
buffers: every position of every axis longer than 1 starts with a label of its own. Two more values:
FIXED marks a position that cannot go (batch, space, constants), UNTIED one that goes with anything (an axis
grown from 1, a fresh constant). An axis without a vector is FIXED throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from survey_lib.chain.coupling.sizes import NOTHING, Size

FIXED, UNTIED = 0, -1
Axes = dict[int, np.ndarray]  # label vectors of one tensor, by axis
NO_WIDTHS = {"stride", "padding", "dilation", "kernel_size", "output_padding"}  # no cut changes them


class Labels:
    """Labels of all tensors seen, and what was learned of them.

    Ties, fixed ones, norms, consumers, producers, and what the run under way needs to read an operation.

    second: ambiguous operations, by their number in the run, to be read the second way.
    """

    def __init__(self, model: nn.Module, second: frozenset[int] = frozenset()):
        self.known: WeakIdKeyDictionary = WeakIdKeyDictionary()  # tensor -> Axes
        self.weights: WeakIdKeyDictionary = WeakIdKeyDictionary()  # tensor -> is it made of parameters alone
        self.fresh: dict[int, list] = {}  # storage -> Axes of UNTIED tensors in it
        self.axes_of: list[tuple[str, int]] = []  # (tensor, axis) of each run of labels
        self.starts: list[int] = []  # first label of each run
        self.total = 1
        self.here = ""  # the operation under way and its module
        self.ties: list[tuple[np.ndarray, str]] = []  # (2, n) labels and the operation that tied them
        self.fixed: list[tuple[np.ndarray, str]] = []
        self.flags: list[tuple[np.ndarray, str]] = []
        self.read: list[np.ndarray] = []  # contracted, or reduced with a flag
        self.read_weights: list[np.ndarray] = []
        self.produced: list[np.ndarray] = []
        self.counted: list[tuple[np.ndarray, np.ndarray]] = []
        self.second, self.choices = second, []  # what could be read in two ways, in the order of the run
        # Multiply-adds, and the axes they scale with
        self.products: list[tuple[int, tuple[np.ndarray, ...]]] = []
        self.numbers: list[int] = []  # sizes that were used as a number, such as an attention scale
        # (module, name) -> the channels that it counts
        self.attributes: dict[tuple[str, str], np.ndarray | list[np.ndarray]] = {}
        self.counting = True  # the multiply-adds of the run under way
        self.head_width = 0  # inside multi-head attention
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.is_floating_point() and tensor not in self.known:
                self.known[tensor], self.weights[tensor] = self._label(name, tensor), True

    def _label(self, name: str, tensor: Tensor) -> Axes:
        axes = {}
        for dim, size in enumerate(tensor.shape):
            if size > 1:
                axes[dim] = np.arange(self.total, self.total + size)
                self.axes_of.append((name, dim))
                self.starts.append(self.total)
                self.total += size
        return axes

    def axes(self, tensor) -> Axes:
        """Labels of a tensor; empty for everything unknown."""
        return self.known.get(tensor, {}) if isinstance(tensor, Tensor) else {}

    def vector(self, tensor: Tensor, dim: int) -> np.ndarray:
        """The labels along one axis of a tensor, FIXED where it has none.

        Parameters
        ----------
        tensor : Tensor
            A tensor of the run.
        dim : int
            The axis.
        """
        dim %= max(tensor.dim(), 1)
        found = self.axes(tensor).get(dim)
        return np.zeros(tensor.shape[dim], int) if found is None else found

    def put(self, tensor: Tensor, axes: Axes, weight: bool = False) -> None:
        """Remember the labels of a tensor; FIXED vectors are dropped.

        Parameters
        ----------
        tensor : Tensor
            A tensor of the run.
        axes : Axes
            Labels of the tensor, by axis.
        weight : bool, default False
            Whether it is made of parameters alone.
        """
        kept = {dim: v for dim, v in axes.items() if v.any()}
        self.known[tensor], self.weights[tensor] = kept, weight
        if any((v == UNTIED).any() for v in kept.values()):
            self.fresh.setdefault(tensor.untyped_storage()._cdata, []).append(kept)

    def written(self, tensor: Tensor) -> None:
        """Labelled values were written into this storage: what was UNTIED in it is now FIXED."""
        for axes in self.fresh.pop(tensor.untyped_storage()._cdata, []):
            for dim, vector in axes.items():
                axes[dim] = np.where(vector == UNTIED, FIXED, vector)

    def tie(self, rows: Sequence[np.ndarray], why: str) -> np.ndarray:
        """Tie positions that go together, the entries of each column, and return the labels of the result.

        A label next to FIXED is fixed, next to UNTIED it is alone, next to a label the two are one channel.

        Parameters
        ----------
        rows : Sequence[np.ndarray]
            Labels, (vectors to tie, positions).
        why : str
            The operation, for the reason.
        """
        rows = np.asarray(rows)
        best = np.where(rows[0] > 0, rows[0], rows.max(0))
        whole = np.broadcast_to(best, rows.shape)
        differs = (rows > 0) & (rows != whole)
        if differs.any():
            self.ties.append((np.stack([whole[differs], rows[differs]]), self.here))
        self.fix(best[(rows == FIXED).any(0)], why)
        return best

    def fix(self, vector: np.ndarray, why: str) -> None:
        """These channels must stay.

        Parameters
        ----------
        vector : np.ndarray
            Labels.
        why : str
            The reason.
        """
        if (vector > 0).any():
            why = why if " " in why else f"meets an axis in {why} that cannot go"
            self.fixed.append((vector[vector > 0], why))

    def fix_all(self, axes: Axes, why: str) -> None:
        """All channels of these axes must stay.

        Parameters
        ----------
        axes : Axes
            The labels of a tensor.
        why : str
            The reason.
        """
        for vector in axes.values():
            self.fix(vector, why)

    def flag(self, vector: np.ndarray, why: str) -> None:
        """A norm or reduction runs over these channels: a cut means over the kept ones.

        Parameters
        ----------
        vector : np.ndarray
            Labels.
        why : str
            The operation, for the reason.
        """
        self.flags.append((vector[vector > 0], why))
        self.read.append(vector)

    def contract(self, first: Tensor, second: Tensor, dims: tuple[int, int], why: str) -> np.ndarray:
        """Sum over the product of two axes: tie them, note that somebody reads the channel, return its labels.

        Parameters
        ----------
        first : Tensor
            The one operand.
        second : Tensor
            The other operand.
        dims : tuple[int, int]
            The axis of each that is summed over.
        why : str
            The operation, for the reason.
        """
        vectors = [self.vector(x, dim) for x, dim in zip((first, second), dims, strict=True)]
        self.read_weights += [v for x, v in zip((first, second), vectors, strict=True) if self.weights.get(x)]
        return self.read_axis(*vectors, why)

    def read_axis(self, left: np.ndarray, right: np.ndarray, why: str) -> np.ndarray:
        """Tie two axes that are multiplied and summed, note that somebody reads the channel, return its labels.

        Parameters
        ----------
        left : np.ndarray
            Labels.
        right : np.ndarray
            As many labels.
        why : str
            The operation, for the reason.
        """
        for vector, other in ((left, right), (right, left)):
            if (vector == UNTIED).any() and (vector != UNTIED).any():  # UNTIED beside labels counts as fixed
                self.fix(other[vector == UNTIED], why)
        self.read.append(merged := self.tie([left, right], why))
        return merged

    def produce(self, weight: Tensor, vector: np.ndarray) -> None:
        """Note that an operand writes these channels, if it is a weight.

        Parameters
        ----------
        weight : Tensor
            An operand.
        vector : np.ndarray
            Labels of the output.
        """
        if self.weights.get(weight):
            self.produced.append(vector)


@dataclass(frozen=True)
class Choice:
    """An operation that could be read in two ways.

    width, stated: of a split, the size of the axis that took the labels, and the labels of what the forward computes
    it from.
    """

    labels: np.ndarray
    module: str
    width: int
    stated: np.ndarray


@dataclass(frozen=True)
class Call:
    """An operation that just ran, with the labels of all tensors so far.

    Attributes
    ----------
    operation : Callable
        The overload of torch.ops.
    out : Tensor | Sequence[Tensor]
        What it returned: a tensor or several.
    name : str
        Its name without the namespace, such as "convolution".
    arguments : dict[str, object]
        What it was called with, by the names of its schema, defaults included.
    labels : Labels
        Where a rule ties channels, fixes them, and notes who reads and writes them.
    module : nn.Module
        The module under way.
    where : str
        Its name in the model.
    sizes : Sequence[int] | None
        The sizes that the forward states where it reshapes, splits or slices; None elsewhere.
    """

    operation: Callable
    out: Tensor | Sequence[Tensor]
    name: str
    arguments: dict[str, object]
    labels: Labels
    module: nn.Module
    where: str
    sizes: Sequence[int] | None

    def axes(self, tensor) -> Axes:
        """The labels of an operand, {axis: one label a position}; an axis that is not in it cannot go."""
        return self.labels.axes(tensor)

    def unknown(self, *tensors) -> Axes:
        """Fix every channel of the operands, and return an output without labels."""
        for tensor in tensors:
            self.labels.fix_all(self.axes(tensor), f"unknown operation {self.name}, see survey_lib.register")
        return {}

    def computed(self, number: int) -> bool:
        """Whether the model's code computed this bound or length from a labelled axis."""
        return any(isinstance(size, Size) and int(size) == number for size in self.sizes or ())

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
        pick = order[len(self.labels.choices) in self.labels.second]
        width, size = (labels.shape[pick], sizes[pick]) if sizes else (0, None)
        stated = size.labels if isinstance(size, Size) else NOTHING
        self.labels.choices.append(Choice(np.unique(labels), self.where, width, stated))
        return pick

    def multiply(self, macs: int, *vectors: np.ndarray) -> None:
        """Note the multiply-adds of the operation.

        Parameters
        ----------
        macs : int
            Number of multiply-adds.
        *vectors : np.ndarray
            Labels of all axes they are proportional to.
        """
        if self.labels.counting:
            axes = tuple(vector for vector in vectors if (vector > 0).any())
            self.labels.products.append((macs, axes))

    def attribute(self, name: str, channels: np.ndarray | list[np.ndarray]) -> None:
        """Note that this attribute of the module under way counts these channels.

        Parameters
        ----------
        name : str
            Name of the attribute.
        channels : np.ndarray | list[np.ndarray]
            Labels, or those of each number in it.
        """
        if isinstance(getattr(self.module, name, None), (int, tuple, list)):
            self.labels.attributes[self.where, name] = channels

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
        for name, size in held.items():
            self.attribute(name, axes[size])
        return set(held.values())

    def stated(self, parts: Sequence[np.ndarray]) -> bool:
        """Do attributes of the module under way hold the sizes of these parts of an axis? If so they follow a cut."""
        sizes = [len(part) for part in parts]
        held = self.follow(dict(zip(sizes[::-1], parts[::-1], strict=True)))
        for name, value in vars(self.module).items():
            if type(value) in (list, tuple) and list(value) == sizes:
                self.attribute(name, parts)
                held.update(sizes)
        return held == set(sizes)

    def paired(self, tensors: Sequence[Tensor], shape: Sequence[int] | None = None) -> Axes:
        """Tie the labels of operands position by position under broadcasting, and return those of the output.

        Parameters
        ----------
        tensors : Sequence[Tensor]
            The operands.
        shape : Sequence[int], optional
            Shape of the broadcast operands where it is not the output's.
        """
        shape, result = self.out.shape if shape is None else shape, {}
        for dim, size in enumerate(shape):
            own = [(x, dim - len(shape) + x.dim()) for x in tensors]
            full = [(x, d) for x, d in own if d >= 0 and x.shape[d] == size > 1]
            if any(d in self.axes(x) for x, d in full):
                vectors = [self.labels.vector(x, d) for x, d in full]
                result[dim] = self.labels.tie(vectors, f"meets an axis in {self.name} that cannot go")
        return result

    def with_parameters(self, x: Tensor, dim: int, *parameters, axis: int = 0) -> np.ndarray:
        """The labels of an axis, tied to parameters or buffers that have an entry for each position of it.

        Parameters
        ----------
        x : Tensor
            An operand.
        dim : int
            The axis.
        *parameters
            Each a tensor, or what stands for none.
        axis : int, default 0
            Their axis.
        """
        vectors = [self.labels.vector(p, axis) for p in parameters if isinstance(p, Tensor)]
        return self.labels.tie([self.labels.vector(x, dim), *vectors], self.name)
