"""One operation of a model, as its rule sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from survey_lib.chain.coupling.labels import Axes, Labels
from survey_lib.chain.coupling.sizes import Size

if TYPE_CHECKING:
    from survey_lib.chain.coupling.readings import LabelledRun


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
    run : LabelledRun
        The run under way: for ambiguous operations, module attributes and counts of multiply-adds.
    """

    operation: Callable
    out: Tensor | Sequence[Tensor]
    name: str
    arguments: dict[str, object]
    labels: Labels
    run: LabelledRun

    def axes(self, tensor) -> Axes:
        """The labels of an operand, {axis: one label a position}; an axis that is not in it cannot go."""
        return self.labels.axes(tensor)

    def unknown(self, *tensors) -> Axes:
        """Fix every channel of the operands, and return an output without labels."""
        for tensor in tensors:
            self.labels.fix_all(self.axes(tensor), f"unknown operation {self.name}, see survey_lib.register")
        return Axes()

    def computed(self, number: int) -> bool:
        """Whether the model's code computed this bound or length from a labelled axis."""
        return any(isinstance(size, Size) and int(size) == number for size in self.run.hint or ())

    def stated(self, parts: Sequence[np.ndarray]) -> bool:
        """Do attributes of the module under way hold the sizes of these parts of an axis? If so they follow a cut."""
        sizes = [len(part) for part in parts]
        held = self.run.follow(dict(zip(sizes[::-1], parts[::-1], strict=True)))
        for name, value in vars(self.run.module).items():
            if type(value) in (list, tuple) and list(value) == sizes:
                self.run.attribute(name, parts)
                held.update(sizes)
        return held == set(sizes)

    def held(self, sizes: Sequence[int]) -> str:
        """Which attributes of the module under way hold these constant sizes, for the reason of a refusal (case B91)."""
        values = {n: v if type(v) in (list, tuple) else [v] for n, v in vars(self.run.module).items()}
        names = [n for n, found in values.items() if any(type(one) is int and one in sizes for one in found)]
        return f", held by {', '.join(names)} of {self.run.stack[-1] or 'the model'}" if names else ""

    def paired(self, tensors: Sequence[Tensor], shape: Sequence[int] | None = None) -> Axes:
        """Tie the labels of operands position by position under broadcasting, and return those of the output.

        Parameters
        ----------
        tensors : Sequence[Tensor]
            The operands.
        shape : Sequence[int], optional
            Shape of the broadcast operands where it is not the output's.
        """
        shape = self.out.shape if shape is None else shape
        labelled = [(x, self.axes(x)) for x in tensors]
        result = Axes()
        result.weight = all(axes.weight for _, axes in labelled)
        for dim, size in enumerate(shape):
            places = [(axes, dim - len(shape) + x.dim(), x.shape) for x, axes in labelled]
            full = [axes.get(p) for axes, p, own in places if p >= 0 and own[p] == size > 1]
            if any(vector is not None for vector in full):
                vectors = [np.zeros(size, int) if vector is None else vector for vector in full]
                result[dim] = self.labels.tie(vectors, f"meets an axis in {self.name} that cannot go")
        return result

    def with_parameters(self, x: Tensor, dim: int, *parameters) -> np.ndarray:
        """The labels of an axis, tied to parameters or buffers that have an entry for each position of it.

        Parameters
        ----------
        x : Tensor
            An operand.
        dim : int
            The axis.
        *parameters
            Each a tensor with one axis, or what stands for none.
        """
        tensors = [p for p in parameters if isinstance(p, Tensor)]
        return self.labels.tie(
            [self.labels.vector(x, dim), *(self.labels.vector(p, 0) for p in tensors)], self.name
        )
