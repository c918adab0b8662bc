"""Rules for operations that address places on an axis: slices, splits, index tensors, look-ups.

A constant on the labelled axis addresses other channels once some are gone: it fixes what it addresses, and
the other axes pass. A place computed from the size of the axis moves with it and ties equal parts.
"""

from __future__ import annotations

import math

import numpy as np

from survey_lib.chain.coupling.call import Call
from survey_lib.chain.coupling.labels import Axes


def move(axes: Axes, to: dict[int, int]) -> Axes:
    """Labels on new axis numbers; axes that are not in `to` are dropped.

    Parameters
    ----------
    axes : Axes
        Labels by axis.
    to : dict[int, int]
        Old axis -> new axis.
    """
    moved = Axes({to[dim]: vector for dim, vector in axes.items() if dim in to})
    moved.weight = axes.weight
    return moved


def without(call: Call, x, *dims, why="takes a constant place of the channel axis") -> Axes:
    """Fix these axes; the others pass."""
    axes = move(call.axes(x), {d: d for d in range(x.dim())})
    for dim in dims:
        call.labels.fix(axes.pop(dim % x.dim(), np.zeros(0, int)), f"{call.name} {why}")
    return axes


def roll(call: Call, x, shifts, dims=()) -> Axes:
    """Positions move along the axis, by a constant: it is fixed."""
    return without(call, x, *(dims or range(x.dim())))


def select(call: Call, x, dim, index) -> Axes:
    """One place of an axis, which is fixed and goes."""
    dim %= x.dim()
    return move(without(call, x, dim), {d: d - (d > dim) for d in range(x.dim())})


def unbind(call: Call, x, dim=0) -> list[Axes]:
    """Every place of an axis, which is fixed, as an output of its own."""
    return [select(call, x, dim, 0)] * len(call.out)


def narrow(call: Call, x, dim=0, start=None, end=None, step=1) -> Axes:
    """A computed bound is a share of the axis and ties its parts; a constant fixes what it addresses."""
    dim, size = dim % x.dim(), x.shape[dim]
    first, last, _ = slice(start, end).indices(size)
    axes = move(call.axes(x), {d: d for d in range(x.dim())})
    if dim not in axes or (first == 0 and last == size and step == 1):
        return axes
    bounds = [b for b in (start, end) if b is not None and b != 0 and abs(b) < size]
    if call.hint and call.hint.kind == "split" and all(call.hint.computed(b) for b in bounds) and step == 1:
        tie_parts(call, axes[dim], math.gcd(size, *bounds))
    elif step != 1:
        call.labels.fix(axes[dim], f"{call.name} takes every {step}th channel")
    else:
        for bound in bounds:
            addressed = axes[dim][:bound] if bound > 0 else axes[dim][bound:]
            call.labels.fix(
                addressed,
                f"{call.name} with a constant bound ({bound}) on the channel axis{call.held([bound])}",
            )
    axes[dim] = axes[dim][first:last:step]
    return axes


def tie_parts(call: Call, vector, width: int) -> None:
    """Equal parts of an axis lose the same positions.

    Parameters
    ----------
    call : Call
        The operation.
    vector
        Labels of the axis.
    width : int
        Width of a part.
    """
    call.labels.tie_rows(vector.reshape(-1, width), f"{call.name} into parts of {width}")


def split(call: Call, x, size, dim=0) -> list[Axes]:
    """Chunks (also inside torch) and computed sizes are shares of the axis; constant sizes fix it."""
    dim, total = dim % x.dim(), x.shape[dim]
    sizes = [part.shape[dim] for part in call.out]
    axes = move(call.axes(x), {d: d for d in range(x.dim())})
    if dim in axes:
        constant = call.hint and call.hint.kind == "split" and not any(map(call.hint.computed, sizes))
        if constant:
            call.labels.fix(
                axes[dim], f"{call.name} with constant sizes on the channel axis{call.held(sizes)}"
            )
        else:
            tie_parts(call, axes[dim], math.gcd(total, *sizes))
    parts = []
    for end, length in zip(np.cumsum(sizes), sizes, strict=True):
        part = move(axes, {d: d for d in axes})
        if dim in axes:
            part[dim] = axes[dim][end - length : end]
        parts.append(part)
    return parts


def index(call: Call, x, indices) -> Axes:
    """Index tensors address constant places; the axes that are not indexed pass."""
    taken = [d for d, one in enumerate(indices) if one is not None]
    if any(one.dtype.is_floating_point or one.dtype.itemsize == 1 for one in map(indices.__getitem__, taken)):
        return call.unknown(x)
    lead = max(indices[d].dim() for d in taken)
    adjacent = taken == list(range(taken[0], taken[-1] + 1))
    start = taken[0] if adjacent else 0
    left = [d for d in range(x.dim()) if d not in taken]
    places = [p for p in range(call.out.dim()) if not start <= p < start + lead]
    return move(without(call, x, *taken), dict(zip(left, places, strict=True)))


def index_select(call: Call, x, dim, _) -> Axes:
    """Constant places of an axis, which is fixed."""
    return without(call, x, dim)


def embedding(call: Call, table, ids, *_) -> Axes:
    """Rows are addressed; the columns are what the embedding produces."""
    axes = without(call, table, 0, why="looks rows up")
    call.labels.produce(axes, axes.get(1, np.zeros(0, int)))
    moved = move(axes, {1: call.out.dim() - 1})
    moved.weight = False
    return moved
