"""Rules for operations that compute, and the one table from operation to rule.

Contractions tie the contracted axes and pass the rest. Norms tie their parameters to the channel. Reductions
over channels are flagged: a cut means over the kept ones. An operation without a row is unknown, and fixes
every channel it touches.
"""

from __future__ import annotations

import re

import numpy as np
import torch

from survey_lib.chain.coupling.labels import Axes
from survey_lib.chain.coupling.rules import indexing as places
from survey_lib.chain.coupling.rules import movement
from survey_lib.chain.coupling.rules.grouped import convolution, group_norm
from survey_lib.chain.coupling.rules.indexing import move, without
from survey_lib.chain.coupling.rules.view import reshape

aten = torch.ops.aten
NOTHING = np.zeros(0, int)


def pointwise(run, *operands, **named) -> Axes:
    """Tie operands position by position; a write in place ends what was FREE in the storage."""
    tensors = [x for x in [*operands, *named.values()] if isinstance(x, torch.Tensor) and x.dim()]
    axes = run.axes(tensors[0]) if len(tensors) == 1 else run.paired(tensors)
    if run.out is operands[0] and len(tensors) > 1:
        run.labels.written(run.out)
    return axes


def matmul(run, a, b) -> Axes:
    """(m, k) @ (k, n) or (batch, m, k) @ (batch, k, n)."""
    first, second, rank = run.axes(a), run.axes(b), a.dim()
    run.labels.contract(first, second, (rank - 1, rank - 2), (a.shape[-1], b.shape[-2]), run.name)
    axes = Axes(move(first, {rank - 2: rank - 2}) | move(second, {rank - 1: rank - 1}))
    if not (first.weight and second.weight):
        run.labels.produce(first, axes.get(rank - 2, NOTHING))
        run.labels.produce(second, axes.get(rank - 1, NOTHING))
    if rank == 3 and (0 in first or 0 in second):
        axes[0] = run.labels.tie(run.labels.vector(a, 0), run.labels.vector(b, 0), run.name)
    return axes


def add_matmul(run, bias, a, b, **_) -> Axes:
    return run.paired([bias, run.out], given={run.out: matmul(run, a, b)})


def matvec(run, a, vector) -> Axes:
    first, second = run.axes(a), run.axes(vector)
    run.labels.contract(first, second, (a.dim() - 1, 0), (a.shape[-1], len(vector)), run.name)
    return Axes({0: first[0]}) if a.dim() == 2 and 0 in first else Axes()


def batch_norm(run, x, *parameters, **_) -> Axes:
    """Statistics are of each channel alone, so masked equals cut."""
    vector = run.labels.vector(x, 1)
    for tensor in parameters[:4]:
        if isinstance(tensor, torch.Tensor):
            vector = run.labels.tie(vector, run.labels.vector(tensor, 0), run.name)
    run.attribute("num_features", vector)
    return move(run.axes(x), {d: d for d in range(x.dim())}) | {1: vector}


def layer_norm(run, x, shape, weight=None, bias=None, *_) -> Axes:
    """Statistics run over the channels: flagged."""
    axes = move(run.axes(x), {d: d for d in range(x.dim())})
    first = x.dim() - len(shape)
    for tensor in (weight, bias):
        for dim in range(len(shape)) if tensor is not None else ():
            vector = run.labels.vector(tensor, dim)
            axes[first + dim] = run.labels.tie(run.labels.vector(x, first + dim), vector, run.name)
    for dim in range(first, x.dim()):
        run.labels.flag(axes.get(dim, NOTHING), f"{run.name} over channels")
    widths = [axes.get(dim, np.zeros(x.shape[dim], int)) for dim in range(first, x.dim())]
    run.attribute("normalized_shape", widths)
    return axes


def reduce(run, x, *_, **__) -> Axes | list[Axes]:
    """Reduced axes are flagged, the others pass."""
    dims = reduced(run.bound, x)
    for dim in dims:
        run.labels.flag(run.axes(x).get(dim, NOTHING), f"{run.name} over channels")
    return _kept_axes(run, x, dims)


def reduce_fixed(run, x, *_, **__) -> Axes | list[Axes]:
    dims = reduced(run.bound, x)
    without(run, x, *dims, why="over the channel axis")
    return _kept_axes(run, x, dims)


def reduced(bound: dict, x) -> list[int]:
    dims = bound.get("dim")
    dims = range(x.dim()) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    return [d % x.dim() for d in dims]


def _kept_axes(run, x, dims) -> Axes | list[Axes]:
    left = [d for d in range(x.dim()) if d not in dims]
    places = left if run.bound.get("keepdim") else range(len(left))
    axes = move(run.axes(x), dict(zip(left, places, strict=True)))
    return [axes] * len(run.out) if isinstance(run.out, (tuple, list)) else axes


def along(run, x, dim=-1, *_, **__) -> Axes:
    """softmax, cumsum: the result at one position depends on the others."""
    return without(run, x, dim, why="over the channel axis")


def spatial(run, x, *_, **__) -> Axes:
    """Pooling and resizing act on the last axes; the channel passes."""
    count = int(re.search(r"(\d)d", run.name)[1])
    return without(run, x, *range(-count, 0), why="over the channel axis")


def glu(run, x, dim=-1) -> Axes:
    axes = move(run.axes(x), {d: d for d in range(x.dim())})
    if dim % x.dim() in axes:
        vector = axes[dim % x.dim()]
        axes[dim % x.dim()] = run.labels.tie_rows(vector.reshape(2, -1), run.name)
    return axes


TABLE = {
    aten.convolution: convolution,
    **dict.fromkeys([aten.mm, aten.bmm], matmul),
    **dict.fromkeys([aten.addmm, aten.baddbmm], add_matmul),
    **dict.fromkeys([aten.mv, aten.dot], matvec),
    **dict.fromkeys([aten.native_batch_norm, aten._native_batch_norm_legit, aten.cudnn_batch_norm,
                     aten._native_batch_norm_legit_no_training], batch_norm),
    **dict.fromkeys([aten.native_layer_norm, aten._fused_rms_norm], layer_norm),
    aten.native_group_norm: group_norm,
    **dict.fromkeys([aten.mean, aten.sum, aten.amax, aten.amin, aten.max, aten.min, aten.var, aten.std,
                     aten.var_mean, aten.std_mean, aten.linalg_vector_norm, aten.norm, aten.prod], reduce),
    **dict.fromkeys([aten.logsumexp, aten.argmax, aten.argmin, aten.any, aten.all, aten.median], reduce_fixed),
    **dict.fromkeys([aten._softmax, aten._safe_softmax, aten._log_softmax, aten.cumsum, aten.cumprod, aten.sort], along),
    **dict.fromkeys([getattr(aten, name) for name in (
        "max_pool2d_with_indices max_pool3d_with_indices avg_pool1d avg_pool2d avg_pool3d max_pool1d "
        "_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d upsample_nearest1d "
        "upsample_nearest2d upsample_nearest3d upsample_bilinear2d upsample_bicubic2d upsample_linear1d "
        "upsample_trilinear3d _upsample_bilinear2d_aa reflection_pad1d reflection_pad2d replication_pad1d "
        "replication_pad2d mkldnn_max_pool2d").split()], spatial),
    **dict.fromkeys([getattr(aten, name) for name in (
        "hardswish hardswish_ hardtanh hardtanh_ dropout _prelu_kernel prelu clone _to_copy copy_ masked_fill "
        "masked_fill_ log_sigmoid_forward native_dropout bernoulli_ bernoulli fill_ zero_ detach alias lift_fresh "
        "normal_ uniform_ rrelu_with_noise leaky_relu_ where contiguous").split()], pointwise),
    **dict.fromkeys([aten.zeros_like, aten.ones_like, aten.empty_like, aten.full_like, aten.rand_like,
                     aten.randn_like], movement.same),
    **dict.fromkeys([aten.zeros, aten.ones, aten.full, aten.empty, aten.new_zeros, aten.new_ones, aten.new_full,
                     aten.new_empty], movement.fresh),
    **dict.fromkeys([aten.view, aten.reshape, aten._unsafe_view, aten._reshape_alias], reshape),
    aten.glu: glu,
    aten.as_strided_: movement.as_strided,
    aten.permute: movement.permute,
    **dict.fromkeys([aten.transpose, aten.transpose_], movement.transpose),
    **dict.fromkeys([aten.t, aten.t_], movement.t),
    aten.unsqueeze: movement.unsqueeze,
    aten.squeeze: movement.squeeze,
    aten.expand: movement.expand,
    aten.repeat: movement.repeat,
    aten.cat: movement.cat,
    aten.stack: movement.stack,
    aten.flip: movement.flip,
    aten.constant_pad_nd: movement.pad,
    aten.roll: places.roll,
    aten.select: places.select,
    aten.unbind: places.unbind,
    aten.slice: places.narrow,
    **dict.fromkeys([aten.split, aten.split_with_sizes, aten.unsafe_split, aten.unsafe_split_with_sizes], places.split),
    aten.index: places.index,
    aten.index_select: places.index_select,
    aten.embedding: places.embedding,
    aten.pixel_shuffle: movement.pixel_shuffle,
    aten.pixel_unshuffle: movement.pixel_unshuffle,
    **dict.fromkeys([aten.channel_shuffle, aten.native_channel_shuffle], movement.channel_shuffle),
}  # fmt: skip


def rule_of(operation):
    """The rule of an aten overload; None for an unknown operation."""
    rule = TABLE.get(operation.overloadpacket)
    return rule or (pointwise if torch.Tag.pointwise in operation.tags else None)
