"""Rules for operations that move data: the labels move the same way, where that commutes with taking channels away.

It does not for a constant place on a labelled axis, which addresses another channel once some are gone: it fixes
what it addresses, and the other axes pass. A place computed from the size of the axis moves with it and ties equal
parts. A rule takes the call and the operation's own arguments, and returns the labels of the result.
"""

import math

import numpy as np
import torch

from survey_lib.chain.coupling.labels import UNTIED, Axes, Call
from survey_lib.chain.inputs import leaves

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
    return {to[dim]: vector for dim, vector in axes.items() if dim in to}


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
    elif not _shares(call, vector, addressed, call.sizes is not None and all(map(call.computed, bounds))):
        for bound, part in zip(bounds, addressed, strict=True):
            call.labels.fix(part, f"{call.name} with a constant bound ({bound}) on the channel axis")
    return axes | {dim: vector[first:last:step]}


def _shares(call: Call, vector, parts, computed: bool) -> bool:
    """Whether these parts of an axis follow its size: computed ones, or constants that attributes hold, if not too small.

    Then equal parts are tied, and the attributes follow.
    """
    width = math.gcd(len(vector), *map(len, parts))
    if not computed and (len(vector) > MOST_PARTS * width or not call.stated(parts)):
        return False
    call.labels.tie(vector.reshape(-1, width), f"{call.name} into parts of {width}")
    return True


def split(call: Call, x, size, dim=0) -> list[Axes]:
    """Chunks (also inside torch) and computed sizes are shares of the axis; constant sizes fix it."""
    dim, axes = dim % x.dim(), call.axes(x)
    sizes = [part.shape[dim] for part in call.out]
    if dim not in axes:
        return [axes] * len(sizes)
    parts = np.split(axes[dim], np.cumsum(sizes)[:-1])
    if not _shares(call, axes[dim], parts, call.sizes is None or any(map(call.computed, sizes))):
        call.labels.fix(axes[dim], f"{call.name} with constant sizes on the channel axis")
    return [axes | {dim: part} for part in parts]


def index(call: Call, x, indices) -> Axes:
    """Index tensors address constant places; the axes that are not indexed pass."""
    taken = [d for d, one in enumerate(indices) if one is not None]
    if taken[-1] - taken[0] >= len(taken) or any(indices[d].dtype.itemsize == 1 for d in taken):
        return call.unknown(x)  # axes in between, whose place changes; masks
    grown = max(indices[d].dim() for d in taken) - len(taken)
    to = {d: d if d < taken[0] else d + grown for d in range(x.dim()) if d not in taken}
    return move(without(call, x, *taken, why=PLACE), to)


def embedding(call: Call, table, ids, *_) -> Axes:
    """Rows are addressed; the columns are what the embedding produces."""
    call.labels.produce(table, call.labels.vector(table, 1))
    return move(without(call, table, 0, why="looks rows up"), {1: call.out.dim() - 1})


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


def as_strided(call: Call, x, *_) -> Axes:
    """Only where it says what a dense tensor of this shape is anyway (adaptive pooling to 1x1 does so)."""
    return call.axes(x) if call.out.is_contiguous() else call.unknown(x)


def repeat(call: Call, x, repeats) -> Axes:
    """Copies side by side carry the same labels."""
    lead = len(repeats) - x.dim()
    return {d + lead: np.tile(vector, repeats[d + lead]) for d, vector in call.axes(x).items()}


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
    parts = call.labels.vector(x, 1).reshape(groups, -1)
    call.labels.tie(parts, f"{call.name} into parts of {parts.shape[1]}")
    return call.axes(x) | {1: parts.T.ravel()}


def fresh(call: Call, *_, **__) -> Axes:
    """A new constant goes with anything."""
    return {d: np.full(n, UNTIED) for d, n in enumerate(call.out.shape) if n > 1}
