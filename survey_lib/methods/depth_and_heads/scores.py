"""Methods of the categories depth and head: whole blocks, attention heads, and hidden channels of feed-forward layers.

A score takes the Evidence of one block or channel group and gives a tensor; higher means keep. A `solve` method takes
the Evidence of all blocks, in the order of the model, and how many to remove, and returns the keep-mask. Heads are
channel groups whose channel is a whole head, (heads, head width) positions on each axis; with grouped queries a channel
is a key/value head with all its queries. A feed-forward channel is a group with one reader that no norm or addition
touches.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from survey_lib.chain.channels import producer_slices
from survey_lib.chain.coupling.groups import ChannelGroup
from survey_lib.chain.evidence.base import Evidence


def block_influence(evidence: Evidence) -> Tensor:
    """Leave out blocks that hardly turn their input (men2024shortgpt).

    score = 1 − E cos(x, block(x)) over examples and positions. `act_in` and `act_out` are (examples,
    channels, positions...); the cosine is taken along the channels. Ranges from 0 to 2. Fails for blocks
    that change little but at the right places, and one at a time: two blocks that are each dispensable may
    not be so together.

    Examples
    --------
    >>> import torch; x = torch.tensor([[1.0, 0.0]])
    >>> block_influence(Evidence("block", torch.zeros(1), act_in=x, act_out=torch.tensor([[0.0, 2.0]])))
    tensor(1.)
    """
    return 1 - cosine_similarity(evidence.act_in, evidence.act_out, dim=1).mean()


def angular_distance(found: Sequence[Evidence], removed: int) -> Tensor:
    """Leave out the run of n neighbouring blocks that turns its input least (gromov2024unreasonable).

    The run from block l has distance E arccos(cos(x_l, x_{l+n})) / π, x_l what block l reads and x_{l+n} what
    the last of the run returns; the cosine is taken along the channels. The paper looks at the last token of
    each text; here all positions count, as images have no last one. Only runs that end in the shape they
    began with can go. Fails where dispensable blocks are not neighbours.

    Parameters
    ----------
    found : Sequence[Evidence]
        Evidence of the blocks, in order.
    removed : int
        Number n of blocks.

    Raises
    ------
    ValueError
        If no run is as long as asked.

    Examples
    --------
    >>> x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> pairs = [(x, y), (y, x), (x, -x)]  # each turns its input, but the first two together do not
    >>> angular_distance([Evidence(str(i), x, act_in=a, act_out=b) for i, (a, b) in enumerate(pairs)], 2)
    tensor([False, False,  True])
    """
    keep, distances = torch.ones(len(found), dtype=torch.bool), {}
    for start in range(len(found) - removed + 1 if removed else 0):
        before, after = found[start].act_in, found[start + removed - 1].act_out
        if before.shape == after.shape:
            cosine = cosine_similarity(before, after, dim=1).clamp(-1, 1)
            distances[start] = float(cosine.arccos().mean()) / math.pi
    if removed and not distances:
        raise ValueError(f"no {removed} neighbouring blocks keep their input's shape; ask for fewer")
    if removed:
        start = min(distances, key=distances.get)
        keep[start : start + removed] = False
    return keep


def head_gradient(evidence: Evidence) -> Tensor:
    """Remove attention heads whose gate the loss hardly feels (michel2019sixteen).

    score = `E_x |∂L/∂ξ_h|` over the layer's L2 norm, ξ_h a gate on the head. `gate_grad` holds the
    expectation, over single examples: ∂L/∂ξ = Σ a·∂L/∂a over all tokens of the head's output, the absolute
    value last, as in the paper, whose gate is one number an example. The BERT code and its ports take
    `|a·∂L/∂a|` at each token: other numbers, which keep tokens from cancelling. The division is the
    reference implementation's, for the global ranking. With grouped queries a unit is a key/value head with
    its queries. Fails where heads stand in for each other: each alone looks dispensable.

    Examples
    --------
    >>> head_gradient(Evidence("heads", torch.zeros(2, 1), gate_grad=torch.tensor([3.0, 4.0])))
    tensor([0.6000, 0.8000])
    """
    norm = evidence.gate_grad.norm().clamp_min(torch.finfo(evidence.gate_grad.dtype).tiny)
    return evidence.gate_grad / norm


def ffn_channel(evidence: Evidence) -> Tensor:
    """Remove hidden feed-forward channels the loss, to first order, does not miss (ma2023llmpruner).

    score = `Σ |g·w|` over every slice of a coupled channel. `slices` and `slices_grad` are (channels, n):
    rows of the gate and up projections, columns of the down projection; of a head its rows of query, key
    and value and its columns of the output. This is the element-wise first-order score of the reference
    implementation, summed over the group; the gradient is averaged over mini-batches. Layerwise; the
    authors leave the first four and the last layers whole, which is `protect` here. Fails where gradients
    of examples cancel in the mean.

    Examples
    --------
    >>> slices = torch.tensor([[1.0, -2.0], [3.0, 0.0]])
    >>> ffn_channel(Evidence("ffn", torch.zeros(2, 1), slices=slices, slices_grad=torch.ones(2, 2)))
    tensor([3., 3.])
    """
    return (evidence.slices * evidence.slices_grad).abs().sum(1)


def flap(evidence: Evidence) -> Tensor:
    """Remove heads and hidden channels that hardly fluctuate; biases keep their mean (an2024fluctuation).

    metric_j = Var(x_j) · ‖W_{:,j}‖² for each input j of the reader, over all calibration tokens; then (metric
    − mean) / standard deviation within the layer, the mean over a head's inputs, and one ranking of the whole
    network. `flap_bias` makes up for the mean of what goes, so that only fluctuation is lost. The reference
    implementation squares the metric of heads and counts a head as many channels; here every unit counts one.
    Fails with few calibration tokens: what rarely fires looks constant.

    Examples
    --------
    >>> from survey_lib.chain.evidence.base import Consumer
    >>> gram = torch.diag(torch.tensor([8.0, 2.0, 2.0])); mean = torch.tensor([2.0, 0.0, 0.0])
    >>> reader = Consumer("down", torch.tensor([[[3.0]], [[1.0]], [[2.0]]]), gram, gram, mean, mean, 2)
    >>> flap(Evidence("ffn", torch.zeros(3, 1), consumers=(reader,)))  # variances 0, 1, 1, so metrics 0, 1, 4
    tensor([-0.8006, -0.3203,  1.1209])
    """
    parts = []
    for reader in evidence.consumers:
        variance = reader.gram.diagonal() / reader.count - reader.mean.square()
        parts.append(variance.view(reader.weight.shape[:2]) * reader.weight.square().sum(-1))
    metric = torch.cat(parts, 1)
    return ((metric - metric.mean()) / metric.std()).nan_to_num().mean(1)


def flap_bias(evidence: Evidence, keep: Tensor) -> dict[str, Tensor]:
    """What the readers' biases gain so that the mean of their outputs stays.

    b ← b + Σ_removed W_{:,j} E[x_j]. A reader without bias is given one.

    Parameters
    ----------
    evidence : Evidence
        Evidence of the group, with `consumers`.
    keep : Tensor
        Bool (channels,), True = kept.

    Returns
    -------
    dict[str, Tensor]
        The readers' weights as they are, and the gains of their biases.

    Examples
    --------
    >>> from survey_lib.chain.evidence.base import Consumer
    >>> gram, mean = torch.eye(2), torch.tensor([2.0, 1.0])
    >>> reader = Consumer("down.weight", torch.tensor([[[3.0]], [[1.0]]]), gram, gram, mean, mean, 1)
    >>> flap_bias(Evidence("g", torch.zeros(2, 1), consumers=(reader,)), torch.tensor([False, True]))["down.bias"]
    tensor([6.])
    """
    repaired = {}
    for reader in evidence.consumers:
        gone = reader.mean.view(reader.weight.shape[:2]).to(reader.weight) * ~keep[:, None]
        gain = (gone[..., None] * reader.weight).sum((0, 1))
        repaired |= {reader.tensor: reader.weight, reader.tensor.removesuffix("weight") + "bias": gain}
    return repaired


def minitron(evidence: Evidence) -> Tensor:
    """Remove heads, hidden and embedding channels that are small on average (muralidharan2024compact).

    s = Σ over readers of ‖a‖₂ with `a_j = √(Σ over texts of (mean over tokens of |x_j|)²)`, where j runs over
    the inputs of the reader that meet the channel: one for a hidden channel, all of a head. No gradient is
    needed. Layerwise, so that heads, hidden channels and embedding channels each lose the same share in every
    layer; `layers=` chooses among the three. As in the reference implementation; it counts each norm once for
    the embedding, here each layer that reads the norm counts. The recipe goes on: `block-influence` takes out
    blocks, and `finetune(teacher=dense)` recovers. Fails for a channel that is large but constant, which a
    bias could replace: see `flap`.

    Examples
    --------
    >>> from survey_lib.chain.evidence.base import Consumer
    >>> gram, zero = torch.eye(2), torch.zeros(2)
    >>> reader = Consumer("down", torch.ones(2, 1, 1), gram, gram, zero, zero, 1, level=torch.tensor([3.0, 4.0]))
    >>> minitron(Evidence("ffn", torch.zeros(2, 1), consumers=(reader,)))
    tensor([3., 4.])
    """
    return sum(reader.level.view(reader.weight.shape[:2]).norm(dim=1) for reader in evidence.consumers)


def is_coupled(group: ChannelGroup, model: nn.Module) -> bool:
    """Whether LLM-Pruner cuts this: attention heads or the hidden channels of a feed-forward layer.

    Parameters
    ----------
    group : ChannelGroup
        A channel group of the model.
    model : nn.Module
        The network.
    """
    return is_heads(group, model) or is_hidden(group, model)


def is_heads(group: ChannelGroup, model: nn.Module) -> bool:
    """Whether a channel of this group is a whole attention head.

    It then has several rows in each producer and meets several columns of each reader (unlike the gates of an
    LSTM, or flattened maps), and no producer is a convolution in groups, whose groups are no heads.

    Parameters
    ----------
    group : ChannelGroup
        A channel group of the model.
    model : nn.Module
        The network.
    """
    if any(getattr(model.get_submodule(name), "groups", 1) > 1 for name in group.producers):
        return False
    rows = [part for producer in group.producers for part in producer_slices(group, producer)]
    return all(part.index.shape[1] > 1 for part in (*rows, *group.consumers))


def is_hidden(group: ChannelGroup, model: nn.Module) -> bool:
    """Whether this is the hidden layer between two projections.

    One reader, one column a channel, no norm over it.

    Parameters
    ----------
    group : ChannelGroup
        A channel group of the model.
    model : nn.Module
        The network.
    """
    return len(group.consumers) == 1 and group.consumers[0].index.shape[1] == 1 and not group.flags
