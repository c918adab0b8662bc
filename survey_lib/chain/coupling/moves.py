"""Rules for operations that move data: the labels are moved the same way.

A rule takes the run and the operation's own arguments, and returns the labels of the result. It may move
labels only where the operation commutes with taking channels away; where a constant sits on the labelled
axis it fixes what the constant addresses.
"""

from __future__ import annotations

import math

import numpy as np

from survey_lib.chain.coupling.labels import FREE, Axes


def move(axes: Axes, to: dict[int, int]) -> Axes:
    """Labels on new axis numbers; axes that are not in `to` are dropped."""
    moved = Axes({to[dim]: vector for dim, vector in axes.items() if dim in to})
    moved.weight = axes.weight
    return moved


def same(run, x, *_, **__) -> Axes:
    return run.axes(x)


def as_strided(run, x, size, stride, *_) -> Axes:
    """Only where it says what a dense tensor of this shape is anyway (adaptive pooling to 1x1 does so)."""
    dense = [math.prod(size[d + 1 :]) for d in range(len(size))]
    if all(n == 1 or s == d for n, s, d in zip(size, stride, dense, strict=True)):
        return run.axes(x)
    return run.unknown(x)


def permute(run, x, dims) -> Axes:
    return move(run.axes(x), {dim % x.dim(): place for place, dim in enumerate(dims)})


def transpose(run, x, first, second) -> Axes:
    order = list(range(x.dim()))
    order[first], order[second] = order[second], order[first]
    return permute(run, x, order)


def t(run, x) -> Axes:
    return permute(run, x, list(range(x.dim()))[::-1])


def unsqueeze(run, x, dim) -> Axes:
    dim %= x.dim() + 1
    return move(run.axes(x), {d: d + (d >= dim) for d in range(x.dim())})


def squeeze(run, x, dims=None) -> Axes:
    dims = range(x.dim()) if dims is None else [dims] if isinstance(dims, int) else dims
    gone = {d % x.dim() for d in dims if x.shape[d] == 1}
    left = [d for d in range(x.dim()) if d not in gone]
    return move(run.axes(x), {d: place for place, d in enumerate(left)})


def expand(run, x, size, **_) -> Axes:
    """Axes grown from 1 and new ones in front are FREE."""
    shape, lead = run.out.shape, run.out.dim() - x.dim()
    axes = move(run.axes(x), {d: d + lead for d in range(x.dim())})
    for dim, length in enumerate(shape):
        if length > 1 and (dim < lead or x.shape[dim - lead] == 1):
            axes[dim] = np.full(length, FREE)
    return axes


def repeat(run, x, repeats) -> Axes:
    lead = len(repeats) - x.dim()
    axes = move(run.axes(x), {d: d + lead for d in range(x.dim())})
    return Axes({d: np.tile(vector, repeats[d]) for d, vector in axes.items()})


def cat(run, tensors, dim=0) -> Axes:
    tensors = [x for x in tensors if x.numel() or x.dim() == run.out.dim()]
    dim %= run.out.dim()
    axes = run.paired(tensors, skip=dim)
    axes[dim] = np.concatenate([run.labels.vector(x, dim) for x in tensors])
    return axes


def stack(run, tensors, dim=0) -> Axes:
    dim %= run.out.dim()
    axes = run.paired(tensors, shape=tensors[0].shape)
    return move(axes, {d: d + (d >= dim) for d in range(run.out.dim() - 1)})


def flip(run, x, dims) -> Axes:
    axes = move(run.axes(x), {d: d for d in range(x.dim())})
    return axes | {d % x.dim(): axes[d % x.dim()][::-1] for d in dims if d % x.dim() in axes}


def pad(run, x, padding, *_) -> Axes:
    """Constant positions around an axis; they cannot go, the axis itself keeps its labels."""
    axes = move(run.axes(x), {d: d for d in range(x.dim())})
    for place, (before, after) in enumerate(zip(padding[::2], padding[1::2], strict=True)):
        dim = x.dim() - 1 - place
        if dim in axes and min(before, after) < 0:
            run.labels.stop(axes.pop(dim), f"{run.name} crops a constant number of channels")
        elif dim in axes and before + after:
            constant = run.labels.reason("added to a constant pad")
            axes[dim] = np.pad(axes[dim], (before, after), constant_values=constant)
    return axes


def without(run, x, *dims, why="takes a constant place of the channel axis") -> Axes:
    """Fix these axes; the others pass."""
    axes = move(run.axes(x), {d: d for d in range(x.dim())})
    for dim in dims:
        run.labels.stop(axes.pop(dim % x.dim(), np.zeros(0, int)), f"{run.name} {why}")
    return axes


def roll(run, x, shifts, dims=()) -> Axes:
    return without(run, x, *(dims or range(x.dim())))


def select(run, x, dim, index) -> Axes:
    dim %= x.dim()
    return move(without(run, x, dim), {d: d - (d > dim) for d in range(x.dim())})


def unbind(run, x, dim=0) -> list[Axes]:
    return [select(run, x, dim, 0)] * len(run.out)


def narrow(run, x, dim=0, start=None, end=None, step=1) -> Axes:
    """A computed bound is a share of the axis and ties its parts; a constant fixes what it addresses."""
    dim, size = dim % x.dim(), x.shape[dim]
    first, last, _ = slice(start, end).indices(size)
    axes = move(run.axes(x), {d: d for d in range(x.dim())})
    if dim not in axes or (first == 0 and last == size and step == 1):
        return axes
    bounds = [b for b in (start, end) if b is not None and b != 0 and abs(b) < size]
    if run.hint and run.hint.kind == "split" and all(run.hint.computed(b) for b in bounds) and step == 1:
        tie_parts(run, axes[dim], math.gcd(size, *bounds))
    elif step != 1:
        run.labels.stop(axes[dim], f"{run.name} takes every {step}th channel")
    else:
        for bound in bounds:
            addressed = axes[dim][:bound] if bound > 0 else axes[dim][bound:]
            run.labels.stop(addressed, f"{run.name} with a constant bound ({bound}) on the channel axis")
    axes[dim] = axes[dim][first:last:step]
    return axes


def tie_parts(run, vector, width: int) -> None:
    """Equal parts of an axis lose the same positions."""
    run.labels.tie_rows(vector.reshape(-1, width), f"{run.name} into parts of {width}")


def split(run, x, size, dim=0) -> list[Axes]:
    """chunk (also inside torch) and computed sizes are shares of the axis; constant sizes fix it."""
    dim, total = dim % x.dim(), x.shape[dim]
    sizes = [part.shape[dim] for part in run.out]
    axes = move(run.axes(x), {d: d for d in range(x.dim())})
    if dim in axes:
        constant = run.hint and run.hint.kind == "split" and not any(map(run.hint.computed, sizes))
        if constant:
            run.labels.stop(axes[dim], f"{run.name} with constant sizes on the channel axis")
        else:
            tie_parts(run, axes[dim], math.gcd(total, *sizes))
    parts = []
    for end, length in zip(np.cumsum(sizes), sizes, strict=True):
        part = move(axes, {d: d for d in axes})
        if dim in axes:
            part[dim] = axes[dim][end - length : end]
        parts.append(part)
    return parts


def index(run, x, indices) -> Axes:
    """Index tensors address constant places; the axes that are not indexed pass."""
    taken = [d for d, one in enumerate(indices) if one is not None]
    if any(one.dtype.is_floating_point or one.dtype.itemsize == 1 for one in map(indices.__getitem__, taken)):
        return run.unknown(x)
    lead = max(indices[d].dim() for d in taken)
    adjacent = taken == list(range(taken[0], taken[-1] + 1))
    start = taken[0] if adjacent else 0
    left = [d for d in range(x.dim()) if d not in taken]
    places = [p for p in range(run.out.dim()) if not start <= p < start + lead]
    return move(without(run, x, *taken), dict(zip(left, places, strict=True)))


def index_select(run, x, dim, _) -> Axes:
    return without(run, x, dim)


def embedding(run, table, ids, *_) -> Axes:
    """Rows are addressed; the columns are what the embedding produces."""
    axes = without(run, table, 0, why="looks rows up")
    run.labels.produce(axes, axes.get(1, np.zeros(0, int)))
    moved = move(axes, {1: run.out.dim() - 1})
    moved.weight = False
    return moved


def pixel_shuffle(run, x, factor) -> Axes:
    """(…, C·r², H, W) -> (…, C, H·r, W·r): the r² sources of a channel go together."""
    dim = x.dim() - 3
    axes = without(run, x, -1, -2)
    if dim in axes:
        why = f"{run.name} by {factor}"
        axes[dim] = run.labels.tie_rows(axes[dim].reshape(-1, factor**2).T, why)
    return axes


def pixel_unshuffle(run, x, factor) -> Axes:
    axes = without(run, x, -1, -2)
    return axes | {d: np.repeat(v, factor**2) for d, v in axes.items() if d == x.dim() - 3}


def channel_shuffle(run, x, groups) -> Axes:
    axes = move(run.axes(x), {d: d for d in range(x.dim())})
    if 1 in axes:
        tie_parts(run, axes[1], x.shape[1] // groups)
        axes[1] = axes[1].reshape(groups, -1).T.ravel()
    return axes


def fresh(run, *_, **__) -> Axes:
    """A new constant goes with anything."""
    return Axes({d: np.full(n, FREE) for d, n in enumerate(run.out.shape) if n > 1})
