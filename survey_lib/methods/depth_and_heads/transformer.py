"""Methods of the category head: attention heads and the hidden channels of feed-forward layers.

Heads are channel groups whose channel is a whole head, (heads, head width) positions on each axis; with
grouped queries a channel is a key/value head with all its queries. A feed-forward channel is a group with one
reader that no norm or addition touches.
"""

from __future__ import annotations

import torch
from torch import Tensor

from survey_lib.chain.coupling.groups import ChannelGroup
from survey_lib.chain.evidence.base import Evidence
from survey_lib.chain.slicing import producer_slices


def head_gradient(evidence: Evidence) -> Tensor:
    """Sensitivity to a gate on each head, E_x |∂L/∂ξ_h|, divided by the layer's L2 norm (michel2019sixteen).

    `gate_grad` holds the expectation, over single examples: ∂L/∂ξ = Σ a·∂L/∂a of the head's output. The
    division is the reference implementation's, for the global ranking. With grouped queries a unit is a
    key/value head with its queries. Fails where heads stand in for each other: each alone looks
    dispensable.

    >>> head_gradient(Evidence("heads", torch.zeros(2, 1), gate_grad=torch.tensor([3.0, 4.0])))
    tensor([0.6000, 0.8000])
    """
    norm = evidence.gate_grad.norm().clamp_min(torch.finfo(evidence.gate_grad.dtype).tiny)
    return evidence.gate_grad / norm


def ffn_channel(evidence: Evidence) -> Tensor:
    """First-order change of the loss over every slice of a coupled channel, Σ |g·w| (ma2023llmpruner).

    `slices` and `slices_grad` are (channels, n): rows of the gate and up projections, columns of the down
    projection. This is the element-wise first-order score of the reference implementation, summed over the
    group; the gradient is averaged over mini-batches. Layerwise. Fails where gradients of examples cancel in
    the mean.

    >>> slices = torch.tensor([[1.0, -2.0], [3.0, 0.0]])
    >>> ffn_channel(Evidence("ffn", torch.zeros(2, 1), slices=slices, slices_grad=torch.ones(2, 2)))
    tensor([3., 3.])
    """
    return (evidence.slices * evidence.slices_grad).abs().sum(1)


def is_heads(group: ChannelGroup) -> bool:
    """Is a channel of this group a whole attention head? It then has several rows in each producer and meets
    several columns of each reader (unlike the gates of an LSTM, or flattened maps)."""
    rows = [part for producer in group.producers for part in producer_slices(group, producer)]
    return all(part.index.shape[1] > 1 for part in (*rows, *group.consumers))


def is_hidden(group: ChannelGroup) -> bool:
    """Is this the hidden layer between two projections: one reader, one column a channel, no norm over it?"""
    return len(group.consumers) == 1 and group.consumers[0].index.shape[1] == 1 and not group.flags
