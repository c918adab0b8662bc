"""Rules for operations that address places on an axis: slices, splits, index tensors, look-ups.

A constant on the labelled axis addresses other channels once some are gone: it fixes what it addresses, and
the other axes pass. A place computed from the size of the axis moves with it and ties equal parts.
"""

import math

import numpy as np

from survey_lib.chain.coupling.call import Call
from survey_lib.chain.coupling.labels import Axes

PLACE = "takes a constant place of the channel axis"
MOST_PARTS = 8  # into which an axis may be split by constants; more are no shares of it


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


def without(call: Call, x, *dims, why: str = "over the channel axis") -> Axes:
    """Fix these axes; the others pass."""
    axes = call.axes(x) | {}
    for dim in dims:
        call.labels.fix(axes.pop(dim % x.dim(), np.zeros(0, int)), f"{call.name} {why}")
    return axes


def narrow(call: Call, x, dim=0, start=None, end=None, step=1) -> Axes:
    """A computed bound is a share of the axis and ties its parts; a constant fixes what it addresses."""
    dim, size, axes = dim % x.dim(), x.shape[dim], call.axes(x)
    first, last, _ = slice(start, end).indices(size)
    if dim not in axes or (first == 0 and last == size and step == 1):
        return axes
    vector, bounds = axes[dim], [b for b in (start, end) if b and abs(b) < size]
    addressed = [vector[:b] if b > 0 else vector[b:] for b in bounds]
    if step != 1:
        call.labels.fix(vector, f"{call.name} takes every {step}th channel")
    elif not _shares(call, vector, addressed, call.run.hint is not None and all(map(call.computed, bounds))):
        for bound, part in zip(bounds, addressed, strict=True):
            why = f"with a constant bound ({bound}) on the channel axis{call.held([bound])}"
            call.labels.fix(part, f"{call.name} {why}")
    return axes | {dim: vector[first:last:step]}


def _shares(call: Call, vector, parts, computed: bool) -> bool:
    """Whether these parts of an axis follow its size: computed ones, or constants that attributes hold, if not too small.

    Then equal parts are tied, and the attributes follow.
    """
    width = math.gcd(len(vector), *map(len, parts))
    if not computed and (len(vector) > MOST_PARTS * width or not call.stated(parts)):
        return False
    tie_parts(call, vector, width)
    return True


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
    call.labels.tie(vector.reshape(-1, width), f"{call.name} into parts of {width}")


def split(call: Call, x, size, dim=0) -> list[Axes]:
    """Chunks (also inside torch) and computed sizes are shares of the axis; constant sizes fix it."""
    dim, axes = dim % x.dim(), call.axes(x)
    sizes = [part.shape[dim] for part in call.out]
    if dim not in axes:
        return [axes] * len(sizes)
    parts = np.split(axes[dim], np.cumsum(sizes)[:-1])
    if not _shares(call, axes[dim], parts, call.run.hint is None or any(map(call.computed, sizes))):
        why = f"{call.name} with constant sizes on the channel axis{call.held(sizes)}"
        call.labels.fix(axes[dim], why)
    return [axes | {dim: part} for part in parts]


def index(call: Call, x, indices) -> Axes:
    """Index tensors address constant places; the axes that are not indexed pass."""
    taken = [d for d, one in enumerate(indices) if one is not None]
    if any(indices[d].dtype.is_floating_point or indices[d].dtype.itemsize == 1 for d in taken):
        return call.unknown(x)
    lead = max(indices[d].dim() for d in taken)
    adjacent = taken == list(range(taken[0], taken[-1] + 1))
    start = taken[0] if adjacent else 0
    left = [d for d in range(x.dim()) if d not in taken]
    places = [p for p in range(call.out.dim()) if not start <= p < start + lead]
    return move(without(call, x, *taken, why=PLACE), dict(zip(left, places, strict=True)))


def embedding(call: Call, table, ids, *_) -> Axes:
    """Rows are addressed; the columns are what the embedding produces."""
    call.labels.produce(table, call.labels.vector(table, 1))
    return Axes(move(without(call, table, 0, why="looks rows up"), {1: call.out.dim() - 1}))
