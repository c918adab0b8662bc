"""Convolutions and group norm: operations that treat the channel axis as (groups, channels of a group).

Both can be cut in two ways: the same positions in every group, or whole groups (then the number of groups
changes; a depthwise convolution is this). The first is tried first unless a group has one channel.
"""

import numpy as np

from survey_lib.chain.coupling.call import Call
from survey_lib.chain.coupling.labels import Axes
from survey_lib.chain.coupling.rules.indexing import NOTHING

POSITIONS, WHOLE = 0, 1


def convolution(
    call: Call, x, weight, bias, _stride, _padding, _dilation, transposed, _out_padding, groups
) -> Axes:
    """Reads the input channels and writes the output channels, in groups or whole; kernel axes are fixed."""
    channels, kernel = call.labels.vector(x, 1), call.axes(weight)
    for dim in range(2, weight.dim()):
        call.labels.fix(kernel.get(dim, NOTHING), "axis of a convolution kernel")
    rule = _plain
    if groups > 1:
        sizes = (x.shape[1] // groups, call.out.shape[1] // groups)
        order = [WHOLE] if sizes[0] == 1 else [WHOLE, POSITIONS] if sizes[1] == 1 else [POSITIONS, WHOLE]
        grid = np.concatenate([channels, call.labels.vector(weight, 0)])
        rule = _whole if call.run.choose(order, grid) == WHOLE else _positions
    rows = rule(call, x, weight, transposed, groups)
    if bias is not None:
        rows = call.labels.tie(rows, call.labels.vector(bias, 0), call.name)
    call.labels.produce(kernel, call.labels.vector(weight, 1 if transposed else 0))
    positions = (x if transposed else call.out)[:, :1].numel()
    call.run.multiply(
        positions * weight.numel(), call.labels.vector(weight, 0), call.labels.vector(weight, 1)
    )
    call.run.attribute("in_channels", channels)
    call.run.attribute("out_channels", rows)
    return Axes({0: call.labels.vector(x, 0), 1: rows})


def _plain(call: Call, x, weight, transposed, _) -> np.ndarray:
    dims = (1, 0 if transposed else 1)
    call.labels.contract(
        call.axes(x), call.axes(weight), dims, (x.shape[1], weight.shape[dims[1]]), call.name
    )
    return call.labels.vector(weight, 1 if transposed else 0)


def _whole(call: Call, x, weight, transposed, groups) -> np.ndarray:
    """One class a group: its inputs, its rows, its outputs."""
    why = f"{call.name} with whole groups"
    first = call.labels.vector(weight, 0).reshape(groups, -1)
    rows = np.concatenate([call.labels.vector(x, 1).reshape(groups, -1), first], axis=1)
    group = call.labels.tie_rows(rows.T, why)
    call.labels.fix(call.labels.vector(weight, 1), f"{call.name}: the width of a group stays")
    call.labels.read.append(group[group > 0])
    call.run.attribute("groups", group)
    return np.repeat(group, weight.shape[1]) if transposed else call.labels.vector(weight, 0)


def _positions(call: Call, x, weight, transposed, groups) -> np.ndarray:
    """The same positions in every group."""
    why = f"{call.name} with the same positions in each of {groups} groups"
    inputs = call.labels.tie_rows(call.labels.vector(x, 1).reshape(groups, -1), why)
    first = call.labels.tie_rows(call.labels.vector(weight, 0).reshape(groups, -1), why)
    second = call.labels.vector(weight, 1)
    reads, rows = (first, np.tile(second, groups)) if transposed else (second, call.labels.vector(weight, 0))
    call.labels.read_axis(inputs, reads, why)
    if call.axes(weight).weight:
        call.labels.read_weights.append(reads[reads > 0])
    return rows


def group_norm(call: Call, x, weight, bias, _n, _c, _hw, groups, _eps) -> Axes:
    """Same positions: the statistics run over kept channels (flagged). Whole groups: exact."""
    vector = call.labels.vector(x, 1)
    for tensor in (weight, bias):
        if tensor is not None:
            vector = call.labels.tie(vector, call.labels.vector(tensor, 0), call.name)
    grid = vector.reshape(groups, -1)
    order = [WHOLE] if grid.shape[1] == 1 else [POSITIONS] if groups == 1 else [POSITIONS, WHOLE]
    if call.run.choose(order, grid) == POSITIONS:
        call.labels.tie_rows(grid, f"{call.name} with the same positions in each of {groups} groups")
        call.labels.flag(vector, f"{call.name} over channels")
    else:
        call.run.attribute("num_groups", call.labels.tie_rows(grid.T, f"{call.name} with whole groups"))
    call.run.attribute("num_channels", vector)
    return call.axes(x) | {1: vector}
