"""Rules for operations that compute, and the one table from operation to rule.

Contractions tie the contracted axes and pass the rest. Norms tie their parameters to the channel. Reductions
over channels are flagged: a cut means over the kept ones. An operation without a row is unknown, and fixes
every channel it touches.
"""

import re
from collections.abc import Callable
from functools import partial

import torch

from survey_lib.chain.coupling.labels import Axes, Call
from survey_lib.chain.coupling.rules import movement
from survey_lib.chain.coupling.rules.movement import PLACE, move, without
from survey_lib.chain.coupling.rules.splits import convolution, group_norm, reshape
from survey_lib.chain.inputs import leaves, reason


def pointwise(call: Call, *operands, **named) -> Axes:
    """Tie operands position by position; a write in place ends what was UNTIED in the storage."""
    tensors = [x for x in [*operands, *named.values()] if isinstance(x, torch.Tensor) and x.dim()]
    axes = call.axes(tensors[0]) if len(tensors) == 1 else call.paired(tensors)
    if call.out is operands[0] and len(tensors) > 1:
        call.labels.written(call.out)
    return axes


def matmul(call: Call, a, b) -> Axes:
    """(m, k) @ (k, n) or (batch, m, k) @ (batch, k, n)."""
    labels, rank = call.labels, a.dim()
    shared = labels.contract(a, b, (rank - 1, rank - 2), call.name)
    rows, columns = labels.vector(a, rank - 2), labels.vector(b, rank - 1)
    axes = {rank - 2: rows, rank - 1: columns}
    if rank == 3:
        axes[0] = labels.tie([labels.vector(a, 0), labels.vector(b, 0)], call.name)
    call.multiply(call.out.numel() * a.shape[-1], shared, *axes.values())
    if not (labels.weights.get(a) and labels.weights.get(b)):
        labels.produce(a, rows)
        labels.produce(b, columns)
    return axes


def add_matmul(call: Call, bias, a, b, **_) -> Axes:
    """A bias beside the product of two matrices."""
    call.labels.put(call.out, matmul(call, a, b))
    return call.paired([bias, call.out])


def batch_norm(call: Call, x, *parameters, **_) -> Axes:
    """Statistics are of each channel alone, so masked equals cut.

    Over a weight (standardisation, NF networks) they run over the channels that it reads: flagged.
    """
    for dim in range(x.dim()) if call.arguments.get("training") else ():
        if dim != 1:
            call.labels.flag(call.labels.vector(x, dim), f"{call.name} over channels")
    vector = call.with_parameters(x, 1, *parameters[:4])
    call.attribute("num_features", vector)
    return call.axes(x) | {1: vector}


def layer_norm(call: Call, x, shape, weight=None, bias=None, *_) -> Axes:
    """Statistics run over the channels: flagged."""
    axes = call.axes(x) | {}
    first = x.dim() - len(shape)
    for dim in range(first, x.dim()):
        axes[dim] = call.with_parameters(x, dim, weight, bias, axis=dim - first)
        call.labels.flag(axes[dim], f"{call.name} over channels")
    call.attribute("normalized_shape", [axes[dim] for dim in range(first, x.dim())])
    return axes


def reduce(call: Call, x, *_, **__) -> Axes | list[Axes]:
    """Reduced axes are flagged, the others pass."""
    dims = named_axes(call.arguments, x)
    for dim in dims:
        call.labels.flag(call.labels.vector(x, dim), f"{call.name} over channels")
    return _kept_axes(call, x, dims)


def along(call: Call, x, *_, why: str = "over the channel axis", **__) -> Axes | list[Axes]:
    """softmax, cumsum, argmax: a result that depends on all of an axis, which is fixed; the others pass."""
    dims = named_axes(call.arguments, x)
    without(call, x, *dims, why=why)
    return _kept_axes(call, x, dims)


def named_axes(arguments: dict, x) -> list[int]:
    """The axes that an operation names, all if it names none.

    Parameters
    ----------
    arguments : dict
        Its arguments by name.
    x : Tensor
        Operand of the operation.
    """
    dims = arguments.get("dim", arguments.get("dims"))
    dims = [dims] if isinstance(dims, int) else dims or range(x.dim())
    return [d % x.dim() for d in dims]


def _kept_axes(call: Call, x, dims) -> Axes | list[Axes]:
    """The labels of the axes beside these, in an output that may lack these."""
    outs = call.out if isinstance(call.out, (tuple, list)) else [call.out]
    left = [d for d in range(x.dim()) if d not in dims]
    places = left if outs[0].dim() == x.dim() else range(len(left))
    return [move(call.axes(x), dict(zip(left, places, strict=True)))] * len(outs)


def spatial(call: Call, x, *_, **__) -> Axes:
    """Pooling and resizing act on the last axes; the channel passes."""
    return without(call, x, *range(-int(SPATIAL.match(call.operation.name())[2]), 0))


def glu(call: Call, x, dim=-1) -> Axes:
    """Two halves of an axis, one a gate of the other, are tied position by position."""
    halves = call.labels.vector(x, dim).reshape(2, -1)
    return call.axes(x) | {dim % x.dim(): call.labels.tie(halves, call.name)}


# Each rule, and the operations of torch.ops.aten that it is the rule of; first those that are named like theirs
SAME = [convolution, glu, movement.cat, movement.stack, movement.repeat, movement.flip, movement.index]
SAME += [movement.embedding, movement.pixel_shuffle, movement.pixel_unshuffle]
RULES = {rule: rule.__name__ for rule in SAME} | {
    matmul: "mm bmm",
    add_matmul: "addmm baddbmm",
    batch_norm: "native_batch_norm cudnn_batch_norm",
    layer_norm: "native_layer_norm _fused_rms_norm",
    group_norm: "native_group_norm",
    reduce: "mean sum amax amin max min var std var_mean std_mean linalg_vector_norm norm prod",
    along: "_softmax _safe_softmax _log_softmax cumsum cumprod sort logsumexp argmax argmin any all median",
    partial(along, why=PLACE): "roll index_select",
    pointwise: (
        "hardswish hardswish_ rrelu_with_noise _prelu_kernel log_sigmoid_forward native_dropout bernoulli bernoulli_ "
        "normal_ uniform_ fill_ zero_ masked_fill masked_fill_ copy_ _to_copy detach alias lift_fresh zeros_like "
        "ones_like empty_like full_like rand_like randn_like"
    ),
    reshape: "view _unsafe_view",
    movement.fresh: "zeros ones full empty new_zeros new_ones new_full new_empty rand randn",
    movement.as_strided: "as_strided_",
    movement.view_of: "permute transpose t unsqueeze squeeze expand select unbind transpose_",
    movement.pad: "constant_pad_nd",
    movement.channel_shuffle: "channel_shuffle native_channel_shuffle",
    movement.narrow: "slice",
    movement.split: "split split_with_sizes unsafe_split unsafe_split_with_sizes",
}
TABLE = {getattr(torch.ops.aten, name): rule for rule, names in RULES.items() for name in names.split()}
BUILT_IN = frozenset(TABLE)
SPATIAL = re.compile(r"^aten::\w*(pool|upsample|pad)\w*(\d)d")  # operations that `spatial` is the rule of
# Rules of what is never a weight, whatever it is made of; None is that of an unknown operation
ANEW = {None, convolution, matmul, add_matmul, movement.embedding, movement.fresh}


def register(operation, rule: Callable[..., Axes | list[Axes]]) -> None:
    """Teach the trace an operation of your own, which fixes every channel that it touches otherwise.

    `rule(call, *args, **kwargs)` gets the `Call` and the operation's own arguments, and returns the labels of
    the output: {axis: one label a position}, or a list of such dicts for several outputs. `call.axes(x)` are
    those of an operand, `call.paired([x, y])` ties two operands position by position, and `call.labels` has
    `tie`, `fix`, `flag` and `contract`. A wrong rule cannot make a wrong cut: every cut is still checked
    against the mask.

    Parameters
    ----------
    operation : torch.ops.<library>.<name>
        It must run in float64 too, as the check does. A later rule of yours replaces an earlier one.
    rule : callable
        The rule, as above.

    Raises
    ------
    ValueError
        If `operation` is something else, such as a Python function, or has a rule of the library, and if `rule`
        cannot be called; in a trace, where it fails or returns anything but labels.

    Examples
    --------
    An operation that reverses the channels, axis 1, and one for which a rule of the library fits:

    >>> @torch.library.custom_op("example::reverse", mutates_args=())
    ... def reverse(x: torch.Tensor) -> torch.Tensor:
    ...     return x.flip(1)
    >>> def reversed_labels(call, x):
    ...     return call.axes(x) | {1: call.labels.vector(x, 1)[::-1]}
    >>> register(torch.ops.example.reverse, reversed_labels)
    >>> register(torch.ops.aten.relu6, pointwise)
    """
    if not isinstance(operation, (torch._ops.OpOverloadPacket, torch._ops.OpOverload)):
        raise ValueError(f"an operation is named torch.ops.<library>.<name>; got {operation!r}")
    operation = getattr(operation, "overloadpacket", operation)
    if operation in BUILT_IN:
        raise ValueError(f"{operation} has a rule of the library; register operations of your own")
    if not callable(rule):
        raise ValueError(f"a rule is a function rule(call, *args, **kwargs); got {rule!r} for {operation}")
    TABLE[operation] = partial(_checked, rule)


def _checked(rule: Callable, call: Call, *args, **kwargs) -> Axes | list[Axes]:
    """What a registered rule returns; ValueError where it fails or returns something else than labels."""
    try:
        found = rule(call, *args, **kwargs)
        for out, axes in zip(leaves([call.out]), found if isinstance(found, list) else [found], strict=False):
            for dim, vector in axes.items():
                vector.reshape(out.shape[dim])
    except Exception as error:
        raise ValueError(
            f"the rule for {call.name} must return {{axis: array of labels}}: {reason(error)}"
        ) from error
    return found


def rule_of(operation):
    """The rule of an aten overload; None for an unknown operation."""
    rule = TABLE.get(operation.overloadpacket) or (spatial if SPATIAL.match(operation.name()) else None)
    compares = torch.Tag.data_dependent_output in operation.tags  # two tensors as a whole
    return rule or (pointwise if torch.Tag.pointwise in operation.tags and not compares else None)
