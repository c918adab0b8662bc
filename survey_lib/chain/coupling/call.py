"""One operation of a model, as its rule sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce as fold
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from survey_lib.chain.coupling.labels import Axes, Labels
from survey_lib.chain.coupling.sizes import Hint

NO_WIDTHS = {"stride", "padding", "dilation", "kernel_size", "output_padding"}  # no cut changes them

if TYPE_CHECKING:
    from survey_lib.chain.coupling.readings import LabelledRun


@dataclass(frozen=True)
class Call:
    """An operation that just ran, with the labels of all tensors so far.

    Attributes
    ----------
    out : Tensor | Sequence[Tensor]
        What it returned: a tensor or several.
    name : str
        Its name without the namespace, such as "convolution".
    arguments : dict[str, object]
        What it was called with, by the names of its schema.
    hint : Hint | None
        How the model's code stated the sizes of a view, slice or split; else None.
    labels : Labels
        Where a rule ties channels, fixes them, and notes who reads and writes them.
    run : LabelledRun
        The run under way: for ambiguous operations, module attributes and counts of multiply-adds.
    """

    out: Tensor | Sequence[Tensor]
    name: str
    arguments: dict[str, object]
    hint: Hint | None
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

    def stated(self, parts: Sequence[np.ndarray]) -> bool:
        """Do attributes of the module under way hold the sizes of these parts of an axis? If so they follow a cut."""
        sizes, held = [len(part) for part in parts], set()
        for name, value in vars(self.run.model.get_submodule(self.run.stack[-1])).items():
            if type(value) is int and value in sizes and name not in NO_WIDTHS:
                self.run.attribute(name, parts[sizes.index(value)])
                held.add(value)
            if type(value) in (list, tuple) and list(value) == sizes:
                self.run.attribute(name, parts)
                held.update(sizes)
        return held == set(sizes)

    def held(self, sizes: Sequence[int]) -> str:
        """Which attributes of the module under way hold these constant sizes (case B91).

        For the reason of a refusal.
        """
        where = self.run.stack[-1]
        values = {
            name: v if isinstance(v, (list, tuple)) else [v]
            for name, v in vars(self.run.model.get_submodule(where)).items()
        }
        names = [
            name for name, found in values.items() if any(type(one) is int and one in sizes for one in found)
        ]
        return f", held by {', '.join(names)} of {where or 'the model'}" if names else ""

    def paired(self, tensors, skip: int | None = None, shape=None, given: dict | None = None) -> Axes:
        """Tie the labels of operands position by position under broadcasting, and return those of the output.

        Parameters
        ----------
        tensors
            The operands.
        skip : int, optional
            An axis to leave out.
        shape : optional
            Shape of the broadcast operands where it is not the output's.
        given : dict, optional
            Labels that stand for those of an operand.
        """
        shape = self.out.shape if shape is None else shape
        known = [(given or {}).get(x, self.axes(x)) for x in tensors]
        result = Axes()
        result.weight = all(axes.weight for axes in known)
        why = f"meets an axis in {self.name} that cannot go"
        for dim in range(len(shape)):
            places = [dim - len(shape) + x.dim() for x in tensors]
            full = [
                (x, axes, p)
                for x, axes, p in zip(tensors, known, places, strict=True)
                if p >= 0 and x.shape[p] == shape[dim] > 1
            ]
            if dim != skip and any(p in axes for _, axes, p in full):
                vectors = [axes.get(p, np.zeros(shape[dim], int)) for _, axes, p in full]
                result[dim] = fold(lambda a, b: self.labels.tie(a, b, why), vectors)
        return result
