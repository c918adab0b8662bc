"""Units between a weight and a filter: N:M groups, blocks, kernels and vectors; and the channel order that suits N:M.

A pattern reads a weight-shaped score as a matrix of units and turns a unit mask back into a weight mask.
Matrix form of a weight (out, in, kh, kw): rows are outputs, columns run along (kh, kw, in), so that
neighbours in a row are neighbours along the *input* dimension, as sparse kernels need them.

With its channels in another order a network computes the same, and its weights have other neighbours.
"""

import re
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from survey_lib.chain.coupling import ChannelGroup, Slice, trace
from survey_lib.chain.inputs import arguments, duplicate
from survey_lib.chain.masks import tensors
from survey_lib.chain.surgery.cut import equal
from survey_lib.chain.surgery.float64 import run
from survey_lib.chain.surgery.resize import structure

Order = Callable[[Tensor, int, int], Tensor]  # (score (rows, channels), n, m) -> order (channels,)


def to_matrix(weight: Tensor) -> Tensor:
    """(out, in, kh, kw) as (out, kh·kw·in); a matrix stays as it is."""
    return weight if weight.dim() == 2 else weight.movedim(1, -1).reshape(weight.shape[0], -1)


def from_matrix(matrix: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of `to_matrix`.

    Parameters
    ----------
    matrix : Tensor
        (out, in) with the kernel axes in the rows of the input.
    shape : torch.Size
        Shape of the weight.
    """
    if len(shape) == 2:
        return matrix.reshape(shape)
    return matrix.reshape(shape[0], *shape[2:], shape[1]).movedim(-1, 1)


def parse(pattern: str) -> tuple[int, int]:
    """`"2:4"` or `"1x4"` as two positive integers, or a ValueError that shows both forms.

    Examples
    --------
    >>> parse("2:4"), parse("1x4")
    ((2, 4), (1, 4))
    """
    match = re.fullmatch(r"(\d+)[:x](\d+)", pattern)
    if not match or min(map(int, match.groups())) < 1:
        raise ValueError(f"pattern must look like '2:4' (N:M) or '1x4' (block); got {pattern!r}")
    if ":" in pattern and int(match[1]) > int(match[2]):
        raise ValueError(f"N:M keeps N of every M weights, so N can be at most M; got {pattern!r}")
    return int(match[1]), int(match[2])


def misfit(shape: torch.Size, unit: str, pattern: str) -> str:
    """Why a weight of this shape cannot take the pattern; empty if it can.

    Parameters
    ----------
    shape : torch.Size
        Shape of the weight.
    unit : str
        n:m, block, kernel or vector.
    pattern : str
        Such as 2:4 or 1x4.
    """
    if unit in ("kernel", "vector"):
        return "" if len(shape) == 4 and shape[-1] > 1 else f"{unit} pruning needs a kernel wider than 1"
    first, second = parse(pattern)
    if unit == "n:m":
        return "" if shape[1] % second == 0 else f"{shape[1]} inputs are not a multiple of {second}"
    if shape[1] % first or shape[0] % second:
        return f"{shape[1]} inputs by {shape[0]} outputs are not a multiple of blocks {first}x{second}"
    return ""


def n_of_m(score: Tensor, n: int, m: int) -> Tensor:
    """Keep the `n` largest of every `m` neighbours along the input dimension (mishra2021accelerating).

    Parameters
    ----------
    score : Tensor
        (out, in, ...); higher means keep.
    n : int
        Kept in each group.
    m : int
        Size of a group.

    Examples
    --------
    >>> n_of_m(torch.tensor([[4.0, 1.0, 3.0, 2.0]]), 2, 4)
    tensor([[ True, False,  True, False]])
    """
    groups = to_matrix(score).reshape(-1, m)
    # a stable ascending sort removes the lowest index first among equals
    removed = groups.argsort(dim=1, stable=True)[:, : m - n]
    keep = torch.ones_like(groups, dtype=torch.bool).scatter_(1, removed, False)
    return from_matrix(keep.reshape(to_matrix(score).shape), score.shape)


def pool(score: Tensor, unit: str, pattern: str = "") -> Tensor:
    """Sum of a weight-shaped score over each unit.

    kernel: (out, in); vector: (out, in, kh), a row inside a kernel; block RxC: (out/C, in/R), R
    neighbouring inputs by C neighbouring outputs with their whole kernels, so 1xN is lin2022pattern's: N
    consecutive output kernels that share an input channel.

    Parameters
    ----------
    score : Tensor
        Shaped like the weight.
    unit : str
        weight, block, kernel or vector.
    pattern : str, default ''
        Pattern of blocks, such as 1x4.

    Examples
    --------
    >>> pool(torch.ones(2, 3), "block", "1x2")
    tensor([[2., 2., 2.]])
    """
    if unit == "weight":
        return score
    if unit in ("kernel", "vector"):
        return score.sum((-2, -1)) if unit == "kernel" else score.sum(-1)
    inputs, outputs = parse(pattern)
    kernels = score.reshape(*score.shape[:2], -1).sum(-1)
    return kernels.reshape(len(kernels) // outputs, outputs, -1, inputs).sum((1, 3))


def spread(keep: Tensor, shape: torch.Size, unit: str, pattern: str = "") -> Tensor:
    """A mask over units as a mask over weights; the inverse of `pool` for masks.

    Parameters
    ----------
    keep : Tensor
        One value a unit.
    shape : torch.Size
        Shape of the weight.
    unit : str
        weight, block, kernel or vector.
    pattern : str, default ''
        Pattern of blocks, such as 1x4.
    """
    if unit == "weight":
        return keep
    if unit == "block":
        inputs, outputs = parse(pattern)
        keep = keep.repeat_interleave(outputs, 0).repeat_interleave(inputs, 1)
    return keep.reshape(*keep.shape, *[1] * (len(shape) - keep.dim())).expand(shape).clone()


@torch.no_grad()
def permuted(model: nn.Module, example, pattern: str, order: Order) -> nn.Module:
    """A copy of the model with the channels of each group in the order that `order` asks for.

    A group is left as it is where no layer reads it in whole runs of m inputs, or where the outputs of the
    reordered network differ in float64, as behind an operation that treats channels by their number.

    Parameters
    ----------
    model : nn.Module
        The network.
    example : tensor, tuple or dict
        An input of its forward.
    pattern : str
        Pattern N:M.
    order : Order
        order(magnitudes, n, m): the order of the channels, from the magnitudes of all layers whose inputs
        are the group, channel by channel.
    """
    n, m = parse(pattern)
    current, draw = duplicate(model), torch.Generator().manual_seed(0)

    def noise(x: Tensor) -> Tensor:
        return torch.randn(x.shape, generator=draw).to(x.device).double() if x.is_floating_point() else x

    probe = tree_map_only(Tensor, noise, arguments(example))
    expected = run(structure(current).eval(), probe)
    for group in trace(model, example).groups:
        rows = [_magnitudes(current, part) for part in group.consumers if _in_runs(current, part, m)]
        if rows:
            moved = _reordered(current, group, order(torch.cat(rows), n, m))
            current = moved if equal(expected, run(structure(moved).eval(), probe)) else current
    return current


def _in_runs(model: nn.Module, part: Slice, m: int) -> bool:
    """Whether an ungrouped layer reads the channels as neighbours, in whole groups of m."""
    layer, index = model.get_submodule(part.tensor.rpartition(".")[0]), part.index
    plain = isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d) and getattr(layer, "groups", 1) == 1
    whole = index[0, 0] % m == len(index) % m == 0
    return plain and whole and index.shape[1] == 1 and (index[1:] - index[:-1] == 1).all()


def _magnitudes(model: nn.Module, part: Slice) -> Tensor:
    """(rows, channels): |w| of what the layer reads of the group, a row for each output and kernel position."""
    weight = tensors(model)[part.tensor]
    return to_matrix(weight).reshape(-1, weight.shape[1])[:, torch.as_tensor(part.index[:, 0])].abs()


def _reordered(model: nn.Module, group: ChannelGroup, order: Tensor) -> nn.Module:
    moved = duplicate(model)
    known = tensors(moved)
    for part in group.slices:
        rows = known[part.tensor].movedim(part.dim, 0)
        index = torch.as_tensor(part.index, device=rows.device)
        rows[index] = rows[index[order.to(rows.device)]].clone()
    return moved
