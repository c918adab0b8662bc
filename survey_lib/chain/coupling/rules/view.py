"""Reshapes: where a labelled axis is split, its labels must become a function of one new axis.

Old and new axes fall into the smallest blocks of equal size. Inside a block each labelled axis is laid out
over all positions and read in the new shape. One new axis takes the labels, and the rest is tied along the
others, so that every shape stays a rectangle. Which axis takes them: one whose size is computed or −1,
because that one shrinks by itself; else the one the labels already depend on alone; else the last. Inside
multi-head attention: the heads. The trace comes back with the next choice where one turns out dead.
"""

from bisect import bisect_left
from itertools import accumulate
from operator import mul

import numpy as np

from survey_lib.chain.coupling.call import Call
from survey_lib.chain.coupling.labels import UNTIED, Axes
from survey_lib.chain.coupling.sizes import Size


def blocks(old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    """Axes of both shapes in the smallest runs of equal product.

    Parameters
    ----------
    old : tuple[int, ...]
        Shape before.
    new : tuple[int, ...]
        Shape after.

    Examples
    --------
    >>> blocks((2, 6, 5), (2, 3, 2, 5))
    [([0], [0]), ([1], [1, 2]), ([2], [3])]
    """
    ends = [list(accumulate((max(size, 1) for size in shape), mul)) for shape in (old, new)]
    common = sorted(set(ends[0]).intersection(ends[1]))  # products of sizes where a block of both ends
    return [
        tuple([dim for dim, end in enumerate(one) if bisect_left(common, end) == number] for one in ends)
        for number in range(len(common))
    ]


def reshape(call: Call, x, *_, **__) -> Axes:
    """Splits and merges of axes: labels stay where the positions of a channel can be said."""
    axes, result = call.axes(x), Axes()
    result.weight = axes.weight
    for mine, theirs in blocks(x.shape, call.out.shape):
        wide = [d for d in theirs if call.out.shape[d] > 1]
        for dim in mine if axes.weight else reversed(mine):  # of a kernel the channel goes, not its pixels
            if dim in axes and wide:
                _place(call, _lay_out(call, axes[dim], x, dim, mine, wide), wide, result)
    _count(call, result)
    return result


def _lay_out(call: Call, vector, x, dim, mine, wide) -> np.ndarray:
    """The labels of one axis at every position of its block, in the new shape."""
    shape = [1] * len(mine)
    shape[mine.index(dim)] = -1
    whole = np.broadcast_to(vector.reshape(shape), [x.shape[d] for d in mine])
    return whole.reshape([call.out.shape[d] for d in wide])


def _place(call: Call, grid, wide, result: Axes) -> None:
    if (grid == UNTIED).all():
        for dim in wide:
            result.setdefault(dim, np.full(call.out.shape[dim], UNTIED))
        return
    sizes = [_size(call, dim) for dim in wide]
    order = [0] if len(wide) == 1 else _order(call, grid, wide, sizes)
    axis = call.run.choose(order, grid, sizes)
    rows = np.moveaxis(grid, axis, -1).reshape(-1, grid.shape[axis])
    vector = call.labels.tie(rows, f"{call.name} splits the channel axis unevenly")
    if len(order) > 1 and type(sizes[axis]) is int:
        call.run.follow({sizes[axis]: vector})
    other = result.get(wide[axis])
    if other is not None:  # two labelled axes merged: a position goes with one of them only
        call.labels.fix(vector[other > 0], f"{call.name} merges two channel axes")
        vector = np.where(other > 0, other, vector)
    result[wide[axis]] = vector


def _size(call: Call, dim: int):
    """What the caller wrote for this axis, None if unknown."""
    sizes = call.run.hint or ()
    return sizes[dim] if len(sizes) == call.out.dim() else None


def _order(call: Call, grid, wide, sizes) -> list[int]:
    """Axes that may take the labels, best first."""
    places = list(range(len(wide)))
    adapting = [p for p in places if isinstance(sizes[p], Size)] + [p for p in places if sizes[p] == -1]
    alone = [
        p for p in places if (grid == grid[tuple(slice(None) if q == p else slice(1) for q in places)]).all()
    ]
    rest = places[:-1] if call.out.shape[wide[-1]] == call.run.head_width else places[::-1]
    return list(dict.fromkeys([*adapting, *(alone or rest)]))


def _count(call: Call, result: Axes) -> None:
    """A size read from another axis must stay equal: both keep the same fraction."""
    for dim, vector in result.items():
        size = _size(call, dim)
        if isinstance(size, Size) and size.labels is not None and not np.isin(vector, size.labels).all():
            call.labels.counted.append((size.labels, vector))
