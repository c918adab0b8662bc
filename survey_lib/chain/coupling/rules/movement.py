"""Rules for operations that move data and commute with taking channels away: the labels move the same way.

A rule takes the call and the operation's own arguments, and returns the labels of the result.
"""

import math

import numpy as np
import torch

from survey_lib.chain.coupling.call import Call
from survey_lib.chain.coupling.labels import UNTIED, Axes
from survey_lib.chain.coupling.rules.indexing import PLACE, move, tie_parts, without
from survey_lib.chain.inputs import leaves


def view_of(call: Call, x, *args, **kwargs) -> list[Axes]:
    """Axes in another order, new or left out: in a tensor without values they are known again by their strides.

    One that has grown from 1 is UNTIED; one of which a single place is left is fixed.
    """
    whole = torch.empty(x.shape, device="meta")
    strides = {stride: dim for dim, stride in enumerate(whole.stride()) if x.shape[dim] > 1}
    found = []
    for view in leaves(call.operation(whole, *args, **kwargs)):
        wide = {place: stride for place, stride in enumerate(view.stride()) if view.shape[place] > 1}
        to = {strides[stride]: place for place, stride in wide.items() if stride}
        grown = {place: np.full(view.shape[place], UNTIED) for place, stride in wide.items() if not stride}
        taken = without(call, x, *strides.values() - to.keys(), why=PLACE)
        found.append(move(taken, to) | grown)
    return found


def transpose_in_place(call: Call, x, first, second) -> Axes:
    """Two axes change places."""
    first, second = first % x.dim(), second % x.dim()
    return move(call.axes(x), {d: d for d in range(x.dim())} | {first: second, second: first})


def as_strided(call: Call, x, size, stride, *_) -> Axes:
    """Only where it says what a dense tensor of this shape is anyway (adaptive pooling to 1x1 does so)."""
    dense = [math.prod(size[d + 1 :]) for d in range(len(size))]
    if all(n == 1 or s == d for n, s, d in zip(size, stride, dense, strict=True)):
        return call.axes(x)
    return call.unknown(x)


def repeat(call: Call, x, repeats) -> Axes:
    """Copies side by side carry the same labels."""
    lead = len(repeats) - x.dim()
    return Axes({d + lead: np.tile(vector, repeats[d + lead]) for d, vector in call.axes(x).items()})


def cat(call: Call, tensors, dim=0) -> Axes:
    """Labels one after another along `dim`; the other axes are tied."""
    tensors = [x for x in tensors if x.numel() or x.dim() == call.out.dim()]
    shape = list(call.out.shape)
    shape[dim] = 1
    joined = np.concatenate([call.labels.vector(x, dim) for x in tensors])
    return call.paired(tensors, shape) | {dim % call.out.dim(): joined}


def stack(call: Call, tensors, dim=0) -> Axes:
    """All axes are tied, and a new one is put in at `dim`."""
    dim %= call.out.dim()
    axes = call.paired(tensors, tensors[0].shape)
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
        elif dim in axes:
            axes[dim] = np.pad(axes[dim], (before, after))
    return axes


def pixel_shuffle(call: Call, x, factor) -> Axes:
    """(…, C·r², H, W) -> (…, C, H·r, W·r): the r² sources of a channel go together."""
    rows = call.labels.vector(x, -3).reshape(-1, factor**2).T
    return without(call, x, -1, -2) | {x.dim() - 3: call.labels.tie(rows, f"{call.name} by {factor}")}


def pixel_unshuffle(call: Call, x, factor) -> Axes:
    """(…, C, H·r, W·r) -> (…, C·r², H, W): each channel becomes r² of the same label."""
    return without(call, x, -1, -2) | {x.dim() - 3: np.repeat(call.labels.vector(x, -3), factor**2)}


def channel_shuffle(call: Call, x, groups) -> Axes:
    """Channels of all groups in turn; equal places of the groups are tied."""
    channels = call.labels.vector(x, 1)
    tie_parts(call, channels, x.shape[1] // groups)
    return call.axes(x) | {1: channels.reshape(groups, -1).T.ravel()}


def fresh(call: Call, *_, **__) -> Axes:
    """A new constant goes with anything."""
    return Axes({d: np.full(n, UNTIED) for d, n in enumerate(call.out.shape) if n > 1})
