"""The slices of channel groups, cut out of weight-shaped tensors: what makes a channel and all it touches."""

import numpy as np
import torch
from torch import Tensor

from survey_lib.chain.coupling.groups import ChannelGroup, Slice


def channel_rows(tensor: Tensor, part: Slice) -> Tensor:
    """The slice of each channel, (size, ...): one row keeps its shape, several are laid flat.

    Parameters
    ----------
    tensor : Tensor
        A parameter or buffer.
    part : Slice
        The positions of each channel in it.
    """
    rows, index = tensor.movedim(part.dim, 0), part.index.ravel()
    if not np.array_equal(index, np.arange(len(rows))):  # else nothing to gather: a view
        rows = rows[torch.as_tensor(index, device=tensor.device)]
    return rows if part.index.shape[1] == 1 else rows.reshape(len(part.index), -1)


def producer_slices(group: ChannelGroup, producer: str) -> list[Slice]:
    """The output rows of a producer: its slices that no consumer contracts.

    A tied embedding is read along the very axis it produces: then that slice is both.

    Parameters
    ----------
    group : ChannelGroup
        A channel group of the model.
    producer : str
        One of the group's modules.
    """
    read = {(part.tensor, part.dim) for part in group.consumers}
    mine = [p for p in group.slices if p.tensor.rpartition(".")[0] == producer and "bias" not in p.tensor]
    return [part for part in mine if (part.tensor, part.dim) not in read] or mine


def producer_rows(group: ChannelGroup, producer: str, tensors: dict[str, Tensor]) -> Tensor:
    """A producer's rows of each channel, from weight-shaped tensors: (size, in, kh, kw) or (size, n).

    Parameters
    ----------
    group : ChannelGroup
        A channel group of the model.
    producer : str
        One of the group's modules.
    tensors : dict[str, Tensor]
        Weights by name, or what has their shapes.
    """
    parts = [part for part in producer_slices(group, producer) if part.tensor in tensors]
    parts = [channel_rows(tensors[part.tensor], part) for part in parts if tensors[part.tensor].dim() > 1]
    return parts[0] if len(parts) == 1 else torch.cat([part.flatten(1) for part in parts], 1)


def weight_slices(group: ChannelGroup, tensors: dict[str, Tensor]) -> list[Slice]:
    """Slices of weights, kernels and norm scales, rows and columns; biases and buffers left out.

    Parameters
    ----------
    group : ChannelGroup
        A channel group of the model.
    tensors : dict[str, Tensor]
        Parameters by name.
    """
    return [p for p in group.slices if p.tensor in tensors and "bias" not in p.tensor.rpartition(".")[2]]


def side_by_side(group: ChannelGroup, tensors: dict[str, Tensor]) -> Tensor:
    """(channels, n): every weight slice of each channel.

    Parameters
    ----------
    group : ChannelGroup
        A channel group of the model.
    tensors : dict[str, Tensor]
        Parameters by name.
    """
    parts = [channel_rows(tensors[part.tensor], part) for part in weight_slices(group, tensors)]
    return torch.cat([part.reshape(group.size, -1) for part in parts], 1)
