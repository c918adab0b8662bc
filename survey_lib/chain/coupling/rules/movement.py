"""Rules for operations that move data and commute with taking channels away: the labels move the same way.

A rule takes the call and the operation's own arguments, and returns the labels of the result.
"""

import math

import numpy as np

from survey_lib.chain.coupling.call import Call
from survey_lib.chain.coupling.labels import UNTIED, Axes
from survey_lib.chain.coupling.rules.indexing import move, tie_parts, without


def same(call: Call, x, *_, **__) -> Axes:
    """The labels pass."""
    return call.axes(x)


def as_strided(call: Call, x, size, stride, *_) -> Axes:
    """Only where it says what a dense tensor of this shape is anyway (adaptive pooling to 1x1 does so)."""
    dense = [math.prod(size[d + 1 :]) for d in range(len(size))]
    if all(n == 1 or s == d for n, s, d in zip(size, stride, dense, strict=True)):
        return call.axes(x)
    return call.unknown(x)


def permute(call: Call, x, dims) -> Axes:
    """The axes in another order."""
    return move(call.axes(x), {dim % x.dim(): place for place, dim in enumerate(dims)})


def transpose(call: Call, x, first, second) -> Axes:
    """Two axes change places."""
    order = list(range(x.dim()))
    order[first], order[second] = order[second], order[first]
    return permute(call, x, order)


def t(call: Call, x) -> Axes:
    """Rows and columns change places."""
    return permute(call, x, list(range(x.dim()))[::-1])


def unsqueeze(call: Call, x, dim) -> Axes:
    """A new axis of length 1."""
    dim %= x.dim() + 1
    return move(call.axes(x), {d: d + (d >= dim) for d in range(x.dim())})


def squeeze(call: Call, x, dims=None) -> Axes:
    """Axes of length 1 go."""
    dims = range(x.dim()) if dims is None else [dims] if isinstance(dims, int) else dims
    gone = {d % x.dim() for d in dims if x.shape[d] == 1}
    left = [d for d in range(x.dim()) if d not in gone]
    return move(call.axes(x), {d: place for place, d in enumerate(left)})


def expand(call: Call, x, size, **_) -> Axes:
    """Axes grown from 1 and new ones in front are UNTIED."""
    shape, lead = call.out.shape, call.out.dim() - x.dim()
    axes = move(call.axes(x), {d: d + lead for d in range(x.dim())})
    for dim, length in enumerate(shape):
        if length > 1 and (dim < lead or x.shape[dim - lead] == 1):
            axes[dim] = np.full(length, UNTIED)
    return axes


def repeat(call: Call, x, repeats) -> Axes:
    """Copies side by side carry the same labels."""
    lead = len(repeats) - x.dim()
    axes = move(call.axes(x), {d: d + lead for d in range(x.dim())})
    return Axes({d: np.tile(vector, repeats[d]) for d, vector in axes.items()})


def cat(call: Call, tensors, dim=0) -> Axes:
    """Labels one after another along `dim`; the other axes are tied."""
    tensors = [x for x in tensors if x.numel() or x.dim() == call.out.dim()]
    dim %= call.out.dim()
    axes = call.paired(tensors, skip=dim)
    axes[dim] = np.concatenate([call.labels.vector(x, dim) for x in tensors])
    return axes


def stack(call: Call, tensors, dim=0) -> Axes:
    """All axes are tied, and a new one is put in at `dim`."""
    dim %= call.out.dim()
    axes = call.paired(tensors, shape=tensors[0].shape)
    return move(axes, {d: d + (d >= dim) for d in range(call.out.dim() - 1)})


def flip(call: Call, x, dims) -> Axes:
    """Labels in the opposite order."""
    axes, flipped = call.axes(x), {d % x.dim() for d in dims}
    return axes | {d: vector[::-1] for d, vector in axes.items() if d in flipped}


def pad(call: Call, x, padding, *_) -> Axes:
    """Constant positions around an axis; they cannot go, the axis itself keeps its labels."""
    axes = call.axes(x) | {}
    for place, (before, after) in enumerate(zip(padding[::2], padding[1::2], strict=True)):
        dim = x.dim() - 1 - place
        if dim in axes and min(before, after) < 0:
            call.labels.fix(axes.pop(dim), f"{call.name} crops a constant number of channels")
        elif dim in axes and before + after:
            constant = call.labels.reason("added to a constant pad")
            axes[dim] = np.pad(axes[dim], (before, after), constant_values=constant)
    return axes


def pixel_shuffle(call: Call, x, factor) -> Axes:
    """(…, C·r², H, W) -> (…, C, H·r, W·r): the r² sources of a channel go together."""
    dim = x.dim() - 3
    axes = without(call, x, -1, -2)
    if dim in axes:
        why = f"{call.name} by {factor}"
        axes[dim] = call.labels.tie_rows(axes[dim].reshape(-1, factor**2).T, why)
    return axes


def pixel_unshuffle(call: Call, x, factor) -> Axes:
    """(…, C, H·r, W·r) -> (…, C·r², H, W): each channel becomes r² of the same label."""
    axes = without(call, x, -1, -2)
    return axes | {d: np.repeat(v, factor**2) for d, v in axes.items() if d == x.dim() - 3}


def channel_shuffle(call: Call, x, groups) -> Axes:
    """Channels of all groups in turn; equal places of the groups are tied."""
    channels = call.labels.vector(x, 1)
    tie_parts(call, channels, x.shape[1] // groups)
    return call.axes(x) | {1: channels.reshape(groups, -1).T.ravel()}


def fresh(call: Call, *_, **__) -> Axes:
    """A new constant goes with anything."""
    return Axes({d: np.full(n, UNTIED) for d, n in enumerate(call.out.shape) if n > 1})
