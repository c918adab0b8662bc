"""Convolutions and group norm: operations that treat the channel axis as (groups, channels of a group).

Both can be cut in two ways: the same positions in every group, or whole groups (then the number of groups
changes; a depthwise convolution is this). The first is tried first unless a group has one channel.
"""

from __future__ import annotations

import numpy as np

from survey_lib.chain.coupling.labels import Axes
from survey_lib.chain.coupling.rules.indexing import move

POSITIONS, WHOLE = 0, 1


def convolution(run, x, weight, bias, _stride, _padding, _dilation, transposed, _out_padding, groups) -> Axes:
    channels, kernel = run.labels.vector(x, 1), run.axes(weight)
    for dim in range(2, weight.dim()):
        run.labels.stop(kernel.get(dim, _NOTHING), "axis of a convolution kernel")
    rule = _whole if groups > 1 else _plain
    if groups > 1:
        sizes = (x.shape[1] // groups, run.out.shape[1] // groups)
        order = [WHOLE] if sizes[0] == 1 else [WHOLE, POSITIONS] if sizes[1] == 1 else [POSITIONS, WHOLE]
        grid = np.concatenate([channels, run.labels.vector(weight, 0)])
        rule = _whole if run.choose(order, grid) == WHOLE else _positions
    rows = rule(run, x, weight, transposed, groups)
    if bias is not None:
        rows = run.labels.tie(rows, run.labels.vector(bias, 0), run.name)
    if transposed and groups > 1:
        run.labels.produce(kernel, run.labels.vector(weight, 1))
    else:
        run.labels.produce(kernel, run.labels.vector(weight, 1 if transposed else 0))
    run.attribute("in_channels", channels)
    run.attribute("out_channels", rows)
    return Axes({0: run.labels.vector(x, 0), 1: rows})


def _plain(run, x, weight, transposed, _) -> np.ndarray:
    dims = (1, 0 if transposed else 1)
    run.labels.contract(run.axes(x), run.axes(weight), dims, (x.shape[1], weight.shape[dims[1]]), run.name)
    return run.labels.vector(weight, 1 if transposed else 0)


def _whole(run, x, weight, transposed, groups) -> np.ndarray:
    """One class a group: its inputs, its rows, its outputs."""
    why = f"{run.name} with whole groups"
    first = run.labels.vector(weight, 0).reshape(groups, -1)
    rows = np.concatenate([run.labels.vector(x, 1).reshape(groups, -1), first], axis=1)
    group = run.labels.tie_rows(rows.T, why)
    run.labels.stop(run.labels.vector(weight, 1), f"{run.name}: the width of a group stays")
    run.labels.read.append(group[group > 0])
    run.attribute("groups", group)
    return np.repeat(group, weight.shape[1]) if transposed else run.labels.vector(weight, 0)


def _positions(run, x, weight, transposed, groups) -> np.ndarray:
    """The same positions in every group."""
    why = f"{run.name} with the same positions in each of {groups} groups"
    inputs = run.labels.tie_rows(run.labels.vector(x, 1).reshape(groups, -1), why)
    first = run.labels.tie_rows(run.labels.vector(weight, 0).reshape(groups, -1), why)
    second = run.labels.vector(weight, 1)
    reads, rows = (first, np.tile(second, groups)) if transposed else (second, run.labels.vector(weight, 0))
    run.labels.read_axis(inputs, reads, why)
    if run.axes(weight).weight:
        run.labels.read_weights.append(reads[reads > 0])
    return rows


def group_norm(run, x, weight, bias, _n, _c, _hw, groups, _eps) -> Axes:
    """Same positions: the statistics run over kept channels (flagged). Whole groups: exact."""
    vector = run.labels.vector(x, 1)
    for tensor in (weight, bias):
        if tensor is not None:
            vector = run.labels.tie(vector, run.labels.vector(tensor, 0), run.name)
    grid = vector.reshape(groups, -1)
    order = [WHOLE] if grid.shape[1] == 1 else [POSITIONS] if groups == 1 else [POSITIONS, WHOLE]
    if run.choose(order, grid) == POSITIONS:
        run.labels.tie_rows(grid, f"{run.name} with the same positions in each of {groups} groups")
        run.labels.flag(vector, f"{run.name} over channels")
    else:
        run.attribute("num_groups", run.labels.tie_rows(grid.T, f"{run.name} with whole groups"))
    run.attribute("num_channels", vector)
    return move(run.axes(x), {d: d for d in range(x.dim())}) | {1: vector}


_NOTHING = np.zeros(0, int)
