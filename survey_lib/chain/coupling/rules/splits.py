"""Rules for operations that split the channel axis, which can be read in two ways.

The trace comes back with the second way where the first leaves nothing to prune.

Reshapes: where a labelled axis is split, its labels must become a function of one new axis. Old and new axes fall
into the smallest blocks of equal size. Inside a block each labelled axis is laid out over all positions and read in
the new shape. One new axis takes the labels, and the rest is tied along the others, so that every shape stays a
rectangle. Which axis takes them: one whose size is computed or −1, because that one shrinks by itself; else the one
the labels already depend on alone; else the last. Inside multi-head attention: the heads.

Convolutions and group norm treat the axis as (groups, channels of a group). The same positions can go in every group,
or whole groups (then the number of groups changes; a depthwise convolution is this). The first is tried first unless a
group has one channel.
"""

import numpy as np

from survey_lib.chain.coupling.labels import UNTIED, Axes, Call
from survey_lib.chain.coupling.sizes import NOTHING, Size

POSITIONS, WHOLE = 0, 1


def convolution(call: Call, x, weight, bias, *_) -> Axes:
    """Reads the input channels and writes the output channels, in groups or whole; kernel axes are fixed."""
    labels, channels, groups = call.labels, call.labels.vector(x, 1), call.arguments["groups"]
    transposed = call.arguments["transposed"]
    for dim in range(2, weight.dim()):
        labels.fix(labels.vector(weight, dim), "axis of a convolution kernel")
    ways = [WHOLE, POSITIONS] if call.out.shape[1] == groups else [POSITIONS, WHOLE]
    order = [POSITIONS] if groups == 1 else [WHOLE] if x.shape[1] == groups else ways
    pick = call.choose(order, np.concatenate([channels, labels.vector(weight, 0)]))
    rows = (_whole if pick == WHOLE else _positions)(call, channels, weight, transposed, groups)
    if bias is not None:
        rows = labels.tie([rows, labels.vector(bias, 0)], call.name)
    labels.produce(weight, labels.vector(weight, 1 if transposed else 0))
    positions = (x if transposed else call.out)[:, :1].numel()
    call.multiply(positions * weight.numel(), labels.vector(weight, 0), labels.vector(weight, 1))
    call.attribute("in_channels", channels)
    call.attribute("out_channels", rows)
    return {0: labels.vector(x, 0), 1: rows}


def _whole(call: Call, channels, weight, transposed, groups) -> np.ndarray:
    """One class a group: its inputs, its rows, its outputs."""
    rows = call.labels.vector(weight, 0)
    members = np.concatenate([channels.reshape(groups, -1), rows.reshape(groups, -1)], axis=1)
    group = call.labels.tie(members.T, f"{call.name} with whole groups")
    call.labels.fix(call.labels.vector(weight, 1), f"{call.name}: the width of a group stays")
    call.labels.read.append(group)
    call.attribute("groups", group)
    return np.repeat(group, weight.shape[1]) if transposed else rows


def _positions(call: Call, channels, weight, transposed, groups) -> np.ndarray:
    """The same positions in every group."""
    why = f"{call.name} with the same positions in each of {groups} groups" if groups > 1 else call.name
    rows, reads = call.labels.vector(weight, 0), np.tile(call.labels.vector(weight, 1), groups)
    call.labels.tie(rows.reshape(groups, -1), why)
    reads, rows = (rows, reads) if transposed else (reads, rows)
    call.labels.read_axis(channels, reads, why)
    if call.labels.weights.get(weight):
        call.labels.read_weights.append(reads)
    return rows


def group_norm(call: Call, x, weight, bias, _n, _c, _hw, groups, _eps) -> Axes:
    """Same positions: the statistics run over kept channels (flagged). Whole groups: exact."""
    vector = call.with_parameters(x, 1, weight, bias)
    grid = vector.reshape(groups, -1)
    order = [WHOLE] if grid.shape[1] == 1 else [POSITIONS] if groups == 1 else [POSITIONS, WHOLE]
    if call.choose(order, grid) == POSITIONS:
        call.labels.tie(grid, f"{call.name} with the same positions in each of {groups} groups")
        call.labels.flag(vector, f"{call.name} over channels")
    else:
        call.attribute("num_groups", call.labels.tie(grid.T, f"{call.name} with whole groups"))
    call.attribute("num_channels", vector)
    return call.axes(x) | {1: vector}


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
    ends = [np.cumprod(np.maximum(shape, 1)) for shape in (old, new)]
    common = np.intersect1d(*ends)  # products of sizes where a block of both ends
    numbers = [np.searchsorted(common, end) for end in ends]
    return [tuple(np.flatnonzero(of == n).tolist() for of in numbers) for n in range(len(common))]


def reshape(call: Call, x, *_, **__) -> Axes:
    """Splits and merges of axes: labels stay where the positions of a channel can be said."""
    axes, result, weight = call.axes(x), {}, call.labels.weights.get(x)
    shape, stated = call.out.shape, call.sizes or ()
    sizes = stated if len(stated) == len(shape) else [None] * len(shape)
    for mine, theirs in blocks(x.shape, call.out.shape):
        wide = [d for d in theirs if shape[d] > 1]
        for dim in mine if weight else reversed(mine):  # of a kernel the channel goes, not its pixels
            if dim in axes and wide:
                _place(call, _lay_out(call, axes[dim], x, dim, mine, wide), wide, sizes, result)
    for dim, vector in result.items():
        # A size that was read from another axis must stay equal: both keep the same fraction
        read = sizes[dim].labels if isinstance(sizes[dim], Size) else NOTHING
        if len(read) and not np.isin(vector, read).all():
            call.labels.counted.append((read, vector))
    return result


def _lay_out(call: Call, vector, x, dim, mine, wide) -> np.ndarray:
    """The labels of one axis at every position of its block, in the new shape."""
    alone = vector.reshape([x.shape[d] if d == dim else 1 for d in mine])
    whole = np.broadcast_to(alone, [x.shape[d] for d in mine])
    return whole.reshape([call.out.shape[d] for d in wide])


def _place(call: Call, grid, wide, sizes, result: Axes) -> None:
    if (grid == UNTIED).all():
        for dim in wide:
            result.setdefault(dim, np.full(call.out.shape[dim], UNTIED))
        return
    sizes = [sizes[dim] for dim in wide]
    order = _order(grid, sizes, call.labels.head_width)
    axis = call.choose(order, grid, sizes)
    rows = np.moveaxis(grid, axis, -1).reshape(-1, grid.shape[axis])
    vector = call.labels.tie(rows, f"{call.name} splits the channel axis unevenly")
    if len(order) > 1 and type(sizes[axis]) is int:
        call.follow({sizes[axis]: vector})
    other = result.get(wide[axis])
    if other is not None:  # two labelled axes merged: a position goes with one of them only
        call.labels.fix(vector[other > 0], f"{call.name} merges two channel axes")
        vector = np.where(other > 0, other, vector)
    result[wide[axis]] = vector


def _order(grid, sizes, head_width: int) -> list[int]:
    """Axes that may take the labels, best first."""
    places = list(range(grid.ndim))
    adapting = [p for p in places if isinstance(sizes[p], Size)] + [p for p in places if sizes[p] == -1]
    alone = [
        p for p in places if (grid == grid[tuple(slice(None) if q == p else slice(1) for q in places)]).all()
    ]
    rest = places[:-1] if len(places) > 1 and grid.shape[-1] == head_width else places[::-1]
    return list(dict.fromkeys([*adapting, *(alone or rest)]))
