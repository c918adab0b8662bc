"""One operation of a model, as its rule sees it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from survey_lib.chain.coupling.labels import Axes, Labels
from survey_lib.chain.coupling.sizes import Size

NO_WIDTHS = {"stride", "padding", "dilation", "kernel_size", "output_padding"}  # no cut changes them


@dataclass(frozen=True)
class Choice:
    """An operation that could be read in two ways; of a split, the axis that took the labels, as the forward states it."""

    labels: np.ndarray
    module: str
    width: int
    size: int | None


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
        split = (labels.shape[pick], sizes[pick]) if sizes else (0, None)
        self.labels.choices.append(Choice(np.unique(labels), self.where, *split))
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
