"""What a trace finds: groups of channels that must go together, what is fixed and why, and count ties."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from survey_lib.chain import masks
from survey_lib.chain.inputs import described
from survey_lib.chain.masks import Masks

STATISTICS = ("running_mean", "running_var")


@dataclass(frozen=True)
class Slice:
    """The positions of each channel of a group on one axis of one parameter or buffer.

    Attributes
    ----------
    tensor : str
        Its name.
    dim : int
        The axis.
    index : np.ndarray
        (size, k), the k positions of each channel.
    why : str
        What makes this axis part of the group: output or input of its layer, and the operations that tie
        it.
    """

    tensor: str
    dim: int
    index: np.ndarray
    why: str = ""


@dataclass(frozen=True, repr=False)
class ChannelGroup:
    """Channels that must go together, with every slice of every tensor that belongs to them.

    Attributes
    ----------
    name : str
        Name of the first producer.
    size : int
        Number of channels.
    slices : tuple[Slice, ...]
        All parameter and buffer slices; `index[c]` are the positions of channel c.
    producers : tuple[str, ...]
        Modules whose output rows the group holds (dim 0 of a weight, dim 1 of a transposed convolution).
    consumers : tuple[Slice, ...]
        Slices of weights that contract the channels.
    flags : tuple[str, ...]
        Norms and reductions over the channel axis; a cut then means "over kept channels".
    """

    name: str
    size: int
    slices: tuple[Slice, ...]
    producers: tuple[str, ...] = ()
    consumers: tuple[Slice, ...] = ()
    flags: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """One line a tensor: axis, channels (x positions of each), and what makes the axis part of the group."""
        rows = [("tensor", "axis", "channels", "why")]
        for piece in self.slices:
            channels, positions = piece.index.shape
            size = f"{channels} x {positions}" if positions > 1 else str(channels)
            rows.append((piece.tensor, str(piece.dim), size, piece.why))
        flags = [f"after a cut: {flag}, the kept ones" for flag in self.flags]
        return "\n".join([f"group {self.name}, {self.size} channels", *_aligned(rows), *flags])


@dataclass(frozen=True, repr=False)
class Coupling:
    """Channel groups of a model, layers that are fixed with the reason, and count ties.

    `print(coupling)` shows a line a group, `print(coupling["layer1.0.conv1"])` a line a tensor of the group
    that holds the outputs of this layer.

    Attributes
    ----------
    groups : tuple[ChannelGroup, ...]
        The channel groups.
    fixed : dict[str, str]
        Layer -> reason.
    counts : tuple[tuple[str, ...], ...]
        Sets of groups that must keep the same fraction (width = heads · head width in one number).
    shapes : dict[str, tuple[int, ...]]
        Shapes of all parameters and buffers, by name.
    unseen : tuple[str, ...]
        Parameters that no operation of the run on the example used.
    member : np.ndarray
        (labels, 2) group number and channel of every label of the trace, −1 where fixed.
    widths : dict[str, list[np.ndarray]]
        Label vectors each module worked on.
    attributes : dict[tuple[str, str], np.ndarray]
        Those that set one of its integer attributes.
    second : frozenset[int]
        Ambiguous operations that were read the second way.
    products : tuple[tuple[int, tuple[np.ndarray, ...]], ...]
        Multiply-adds of each contraction on the example, and the labels of the axes they scale with.
    """

    groups: tuple[ChannelGroup, ...]
    fixed: dict[str, str]
    counts: tuple[tuple[str, ...], ...] = ()
    member: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), int))
    widths: dict[str, list[np.ndarray]] = field(default_factory=dict)
    attributes: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    second: frozenset[int] = frozenset()
    products: tuple[tuple[int, tuple[np.ndarray, ...]], ...] = ()
    unseen: tuple[str, ...] = ()
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @cached_property
    def _by_name(self) -> dict[str, ChannelGroup]:
        """Groups under the names of their producers, the first one where there are several, and their own."""
        producers = {name: group for group in reversed(self.groups) for name in group.producers}
        return producers | {group.name: group for group in self.groups}

    def __getitem__(self, name: str) -> ChannelGroup:
        if name not in self._by_name:
            why = f"; {name} is fixed: {self.fixed[name]}" if name in self.fixed else ""
            raise ValueError(
                f"no channel group {name!r}{why}; there are: {', '.join(g.name for g in self.groups)}"
            )
        return self._by_name[name]

    def __repr__(self) -> str:
        """One line a group, then what is fixed, tied by count, or was not used by the run."""
        lines = [f"{len(self.groups)} channel groups, {sum(one.size for one in self.groups)} channels"]
        rows = [("group", "channels", "tensors", "written by", "read by", "over channels")]
        for one in self.groups:
            readers = [piece.tensor.rpartition(".")[0] for piece in one.consumers]
            names = map(_some, (one.producers, readers, one.flags))
            rows.append((one.name, str(one.size), str(len(one.slices)), *names))
        lines += _aligned(rows) if self.groups else []
        lines += [f"fixed: {layer} ({why})" for layer, why in self.fixed.items()]
        lines += [f"keep the same fraction: {', '.join(names)}" for names in self.counts]
        return "\n".join(lines + [f"unseen: {name}" for name in self.unseen])

    def check(self, model: nn.Module) -> None:
        """Check that this is the coupling of a model with the same tensors.

        Raises
        ------
        ValueError
            If it is not.
        """
        here = shapes(model)
        for name in {**here, **self.shapes}:
            if here.get(name) != self.shapes.get(name):
                raise ValueError(
                    f"coupling= is that of another model: {name!r} has shape {self.shapes.get(name)} there and "
                    f"{here.get(name)} here; trace this model, after one run if its forward makes layers"
                )

    def balance(
        self, keep: Mapping[str, Tensor], scores: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The keep-masks with count ties respected and no group emptied.

        Groups tied by count keep the same fraction j / gcd(sizes): the mean of what was asked, rounded, at
        least 1 / gcd. A group that is not in `keep` is kept whole, and so are the groups tied to it.

        Parameters
        ----------
        keep : Mapping[str, Tensor]
            {group name: (size,) bool}, True = kept.
        scores : Mapping[str, Tensor], optional
            Decide where channels must be added or removed for a count tie (higher stays).
        """
        keep = {name: mask.clone() for name, mask in keep.items()}
        scores = scores or {}
        for tied in [*self.counts, *((name,) for name in keep)]:
            asked = [float(keep[n].float().mean()) if n in keep else 1.0 for n in tied]
            unit = math.gcd(*(self[name].size for name in tied))
            share = 1.0 if any(n not in keep for n in tied) else sum(asked) / len(asked)
            parts = min(max(round(share * unit), 1), unit)
            for name in set(tied) & set(keep):
                keep[name] = _keep_best(keep[name], scores.get(name), parts * self[name].size // unit)
        return keep

    def units(self, keep: Mapping[str, Tensor]) -> list[list[str]]:
        """The groups of `keep`, those together whose counts are tied."""
        tied = [[name for name in names if name in keep] for names in self.counts]
        alone = [[name] for name in keep if not any(name in names for names in tied)]
        return [unit for unit in tied if unit] + alone

    def alive(self, keep: Mapping[str, Tensor]) -> np.ndarray:
        """Whether the channel of each label of the trace stays."""
        kept = [keep[g.name].cpu().numpy() if g.name in keep else np.ones(g.size, bool) for g in self.groups]
        starts = np.cumsum([0, *(len(one) for one in kept)])
        channel = np.where(self.member[:, 0] < 0, starts[-1], starts[self.member[:, 0]] + self.member[:, 1])
        # The last one answers for label −1
        return np.concatenate([*kept, [True]])[np.append(channel, starts[-1])]

    def masks(self, keep: Mapping[str, Tensor]) -> Masks:
        """Masks of the traced model's tensors that zero every slice of what `keep` removes, see `group_masks`."""
        check_keep(self, keep)
        return position_masks(self.shapes, removed(self, keep))

    def macs(self, keep: Mapping[str, Tensor]) -> float:
        """Multiply-adds on the example with only these channels kept, as `measure` counts them."""
        alive = self.alive(keep)
        return sum(
            count * math.prod(alive[vector].mean() for vector in axes) for count, axes in self.products
        )


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _some(names: Iterable[str], shown: int = 2) -> str:
    """The first few names, and how many more there are."""
    names = list(dict.fromkeys(names))
    return ", ".join(names[:shown]) + (f", {len(names) - shown} more" if len(names) > shown else "")


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes of all parameters and buffers, by name."""
    return {name: tuple(tensor.shape) for name, tensor in masks.tensors(model).items()}


def _keep_best(keep: Tensor, score: Tensor | None, count: int) -> Tensor:
    """Exactly `count` kept: kept ones before removed ones, higher scores first, higher index first in a tie."""
    score = torch.zeros(keep.shape) if score is None else score.detach().cpu()
    order = np.lexsort((score.double().numpy(), keep.cpu().numpy()))
    result = torch.zeros_like(keep)
    result[torch.from_numpy(order[len(order) - count :].copy())] = True
    return result


def check_keep(coupling: Coupling, keep: Mapping[str, Tensor]) -> None:
    """Check that each mask fits its group.

    Parameters
    ----------
    coupling : Coupling
        What `trace` returned for the model.
    keep : Mapping[str, Tensor]
        {group name: (size,) bool}, True = kept.

    Raises
    ------
    ValueError
        If a mask names no group, has another shape, is not bool, or empties its group.
    """
    for name, mask in keep.items():
        group, size = coupling[name].name, coupling[name].size
        if group != name:
            raise ValueError(
                f"{name} is a layer of group {group!r}; give the keep-mask under the group's name"
            )
        if not isinstance(mask, Tensor) or mask.shape != (size,) or mask.dtype != torch.bool:
            raise ValueError(f"{name}: the keep-mask must be bool of shape ({size},); got {described(mask)}")
        if not mask.any():
            raise ValueError(f"{name}: no channel of {size} would be kept; keep at least one")


def removed(coupling: Coupling, keep: Mapping[str, Tensor]) -> dict[str, dict[int, np.ndarray]]:
    """Removed positions by tensor and axis, sorted.

    Parameters
    ----------
    coupling : Coupling
        What `trace` returned for the model.
    keep : Mapping[str, Tensor]
        {group name: (size,) bool}, True = kept.
    """
    gone: dict[str, dict[int, list]] = {}
    for name, mask in keep.items():
        cut = ~mask.cpu().numpy()
        for piece in coupling[name].slices if cut.any() else ():
            gone.setdefault(piece.tensor, {}).setdefault(piece.dim, []).append(piece.index[cut].ravel())
    return {t: {d: np.flatnonzero(np.bincount(np.hstack(i))) for d, i in g.items()} for t, g in gone.items()}


def parameters(model: nn.Module, coupling: Coupling, keep: Mapping[str, Tensor]) -> int:
    """Parameters of the model with only these channels kept.

    Parameters
    ----------
    model : nn.Module
        The network.
    coupling : Coupling
        What `trace` returned for the model.
    keep : Mapping[str, Tensor]
        {group name: (size,) bool}, True = kept.
    """
    gone = removed(coupling, keep)
    return sum(
        math.prod(n - len(gone.get(name, {}).get(dim, ())) for dim, n in enumerate(tensor.shape))
        for name, tensor in model.named_parameters()
    )


def group_masks(model: nn.Module, coupling: Coupling, keep: Mapping[str, Tensor]) -> Masks:
    """Masks that zero every slice of the removed channels: parameters and buffers, but not norm statistics.

    A batch norm is covered with its scale and shift, and consumers with their input slices, so that the
    masked model computes what the cut one does (case B19).

    Parameters
    ----------
    model : nn.Module
        The network.
    coupling : Coupling
        What `trace` returned for the model.
    keep : Mapping[str, Tensor]
        {group name: (size,) bool}, True = kept.
    """
    known = masks.tensors(model)
    return {name: mask.to(known[name].device) for name, mask in coupling.masks(keep).items()}


def position_masks(
    shapes: Mapping[str, tuple[int, ...]], gone: Mapping[str, Mapping[int, np.ndarray]]
) -> Masks:
    """Masks that zero the removed positions of each tensor, norm statistics left out.

    Parameters
    ----------
    shapes : Mapping[str, tuple[int, ...]]
        Shapes by tensor.
    gone : Mapping[str, Mapping[int, np.ndarray]]
        Removed positions by tensor and axis.
    """
    zeroed = [name for name in gone if name.rpartition(".")[2] not in STATISTICS]
    return {name: zero(torch.ones(shapes[name], dtype=torch.bool), gone[name]) for name in zeroed}


def zero(tensor: Tensor, axes: Mapping[int, np.ndarray]) -> Tensor:
    """Set these positions of each axis to zero, in place.

    Parameters
    ----------
    tensor : Tensor
        A tensor, which is changed.
    axes : Mapping[int, np.ndarray]
        Positions by axis.
    """
    for dim, index in axes.items():
        tensor.index_fill_(dim, torch.from_numpy(index).to(tensor.device), 0)
    return tensor
