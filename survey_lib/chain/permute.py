"""Channels of a network in another order: the network computes the same, its weights have other neighbours."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from survey_lib.chain.coupling import ChannelGroup, Slice, trace
from survey_lib.chain.evidence import weights as observe
from survey_lib.chain.inputs import duplicate, leaves
from survey_lib.chain.masks import tensors
from survey_lib.chain.patterns import parse, to_matrix
from survey_lib.chain.surgery.verify import equal

Order = Callable[[Tensor, int, int], Tensor]  # (score (rows, channels), n, m) -> order (channels,)


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
    current = duplicate(model)
    probe = tree_map_only(Tensor, lambda t: _noise(t) if t.is_floating_point() else t, example)
    expected = _outputs(current, probe)
    for group in trace(model, example).groups:
        rows = [_magnitudes(current, part) for part in group.consumers if _in_runs(current, part, m)]
        if rows:
            moved = _reordered(current, group, order(torch.cat(rows), n, m))
            current = moved if equal(expected, _outputs(moved, probe)) else current
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
    known, done = tensors(moved), set()
    for part in group.slices:
        place = (known[part.tensor].data_ptr(), part.dim, part.index.tobytes())  # a tied tensor has two names
        if place not in done:
            done.add(place)
            rows = known[part.tensor].movedim(part.dim, 0)
            index = torch.as_tensor(part.index, device=rows.device)
            rows[index] = rows[index[order.to(rows.device)]].clone()
    return moved


def _outputs(model: nn.Module, probe) -> list[Tensor]:
    with torch.random.fork_rng():
        found = observe.call(duplicate(model).eval().double(), probe)
    return list(leaves(found))


def _noise(like: Tensor) -> Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(0)).to(like.device).double()
