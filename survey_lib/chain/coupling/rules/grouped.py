"""Convolutions and group norm: operations that treat the channel axis as (groups, channels of a group).

Both can be cut in two ways: the same positions in every group, or whole groups (then the number of groups
changes; a depthwise convolution is this). The first is tried first unless a group has one channel.
"""

import numpy as np

from survey_lib.chain.coupling.call import Call
from survey_lib.chain.coupling.labels import Axes

POSITIONS, WHOLE = 0, 1


def convolution(
    call: Call, x, weight, bias, _stride, _padding, _dilation, transposed, _out_padding, groups
) -> Axes:
    """Reads the input channels and writes the output channels, in groups or whole; kernel axes are fixed."""
    labels, channels = call.labels, call.labels.vector(x, 1)
    for dim in range(2, weight.dim()):
        labels.fix(labels.vector(weight, dim), "axis of a convolution kernel")
    if groups == 1:
        labels.contract(x, weight, (1, 0 if transposed else 1), call.name)
        rows = labels.vector(weight, 1 if transposed else 0)
    else:
        sizes = (x.shape[1] // groups, call.out.shape[1] // groups)
        order = [WHOLE] if sizes[0] == 1 else [WHOLE, POSITIONS] if sizes[1] == 1 else [POSITIONS, WHOLE]
        pick = call.run.choose(order, np.concatenate([channels, labels.vector(weight, 0)]))
        rows = (_whole if pick == WHOLE else _positions)(call, x, weight, transposed, groups)
    if bias is not None:
        rows = labels.tie([rows, labels.vector(bias, 0)], call.name)
    labels.produce(weight, labels.vector(weight, 1 if transposed else 0))
    positions = (x if transposed else call.out)[:, :1].numel()
    call.run.multiply(positions * weight.numel(), labels.vector(weight, 0), labels.vector(weight, 1))
    call.run.attribute("in_channels", channels)
    call.run.attribute("out_channels", rows)
    return Axes({0: labels.vector(x, 0), 1: rows})


def _whole(call: Call, x, weight, transposed, groups) -> np.ndarray:
    """One class a group: its inputs, its rows, its outputs."""
    channels, rows = (call.labels.vector(tensor, dim) for tensor, dim in ((x, 1), (weight, 0)))
    members = np.concatenate([channels.reshape(groups, -1), rows.reshape(groups, -1)], axis=1)
    group = call.labels.tie(members.T, f"{call.name} with whole groups")
    call.labels.fix(call.labels.vector(weight, 1), f"{call.name}: the width of a group stays")
    call.labels.read.append(group)
    call.run.attribute("groups", group)
    return np.repeat(group, weight.shape[1]) if transposed else rows


def _positions(call: Call, x, weight, transposed, groups) -> np.ndarray:
    """The same positions in every group."""
    why = f"{call.name} with the same positions in each of {groups} groups"
    inputs = call.labels.tie(call.labels.vector(x, 1).reshape(groups, -1), why)
    rows, second = call.labels.vector(weight, 0), call.labels.vector(weight, 1)
    first = call.labels.tie(rows.reshape(groups, -1), why)
    reads, rows = (first, np.tile(second, groups)) if transposed else (second, rows)
    call.labels.read_axis(inputs, reads, why)
    if call.axes(weight).weight:
        call.labels.read_weights.append(reads)
    return rows


def group_norm(call: Call, x, weight, bias, _n, _c, _hw, groups, _eps) -> Axes:
    """Same positions: the statistics run over kept channels (flagged). Whole groups: exact."""
    vector = call.with_parameters(x, 1, weight, bias)
    grid = vector.reshape(groups, -1)
    order = [WHOLE] if grid.shape[1] == 1 else [POSITIONS] if groups == 1 else [POSITIONS, WHOLE]
    if call.run.choose(order, grid) == POSITIONS:
        call.labels.tie(grid, f"{call.name} with the same positions in each of {groups} groups")
        call.labels.flag(vector, f"{call.name} over channels")
    else:
        call.run.attribute("num_groups", call.labels.tie(grid.T, f"{call.name} with whole groups"))
    call.run.attribute("num_channels", vector)
    return call.axes(x) | {1: vector}
