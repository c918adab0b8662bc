"""Scores of filters, coupled channels, attention heads and blocks: one pure function a method.

A score takes the Evidence of one producer of a group (or of one block) and gives (channels,), or one number; higher
means keep. `weight` is (channels, in, kh, kw), or (channels, n) where a channel is several rows. Filter norms follow
the reference implementations and leave the bias out. In a coupled group the scores of the producers are averaged; what
belongs to the whole group (`energy`, `gamma`) is the same for all.

Feature maps (`act_out`) are read after the producer's norm, a residual addition, and the activation, before
any pooling, as in the reference implementations of HRank and CHIP, which read ReLUs (each block of a residual
stream after its addition). `chain.evidence.feature_maps` says how they are found.

Heads are channel groups whose channel is a whole head, (heads, head width) positions on each axis; with
grouped queries a channel is a key/value head with all its queries. A feed-forward channel is a group with one
reader that no norm or addition touches.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from survey_lib.chain.channels import producer_slices
from survey_lib.chain.coupling.groups import ChannelGroup
from survey_lib.chain.evidence.base import Evidence


def random_filter(evidence: Evidence) -> Tensor:
    """Seeded uniform scores for filters, the baseline every criterion has to beat.

    Another seed, or another layer, draws other scores. Fails as a baseline where all filters are alike: then
    it is as good as any (mittal2018recovering).

    Examples
    --------
    >>> random_filter(Evidence("conv", torch.zeros(3, 1, 1, 1), seed=1)).shape
    torch.Size([3])
    """
    generator = torch.Generator().manual_seed(evidence.seed)
    return torch.rand(len(evidence.weight), generator=generator).to(evidence.weight.device)


def l1_filter(evidence: Evidence) -> Tensor:
    """Remove filters of small L1 norm (li2017pruning).

    score = `Σ |w|`. The paper ranks within a layer. Fails where scale says nothing: batch norm rescales
    every filter, so a filter of small norm may feed a large channel.

    Examples
    --------
    >>> l1_filter(Evidence("conv", torch.tensor([[1.0, -1.0], [0.5, 0.5]])))
    tensor([2., 1.])
    """
    return evidence.weight.flatten(1).abs().sum(1)


def l2_filter(evidence: Evidence) -> Tensor:
    """Remove filters of small L2 norm (li2017pruning).

    score = √Σ w², the paper's comparison. Ranks as `l1_filter` does unless few large weights carry a
    filter. Fails for the same reason.

    Examples
    --------
    >>> l2_filter(Evidence("conv", torch.tensor([[3.0, 4.0], [0.0, 1.0]])))
    tensor([5., 1.])
    """
    return evidence.weight.flatten(1).norm(dim=1)


def fpgm(evidence: Evidence) -> Tensor:
    """Remove filters the others can stand in for (he2019filter).

    score = Σ_j ‖F_i − F_j‖₂, the distance to all others of the layer. What lies near the geometric median
    can be replaced by the rest, whatever its norm. As in the paper each layer is ranked by itself: sums
    grow with the layer's width. Here it is one-shot; the authors zero the chosen filters after every epoch
    of training and let them grow back, as `sfp` does. Fails with few filters, and where a duplicate pair
    lies far from the rest: neither is removed.

    Examples
    --------
    >>> fpgm(Evidence("conv", torch.tensor([[0.0], [1.0], [3.0]])))
    tensor([4., 3., 5.])
    """
    filters = _single(evidence.weight).flatten(1)
    distance = torch.pdist(filters)  # of each pair once: exact, and 15 times faster than cdist without matmul
    first, second = torch.triu_indices(len(filters), len(filters), 1, device=filters.device)
    return filters.new_zeros(len(filters)).index_add_(0, first, distance).index_add_(0, second, distance)


def hrank(evidence: Evidence) -> Tensor:
    """Remove filters whose feature maps have low rank (lin2020hrank).

    score = E_x rank(a_c), a mean over examples. `act_out` is (examples, channels, height, width), a matrix
    to each example and channel, after norm and activation and before pooling. Fails on small maps, where
    ranks are few and tie, and on positions without order (tokens, vectors), where a rank is 0 or 1. In a
    group of maps of several sizes the large ones decide.

    Examples
    --------
    >>> maps = torch.stack([torch.eye(2), torch.ones(2, 2)])[None]
    >>> hrank(Evidence("conv", torch.zeros(2, 1), act_out=maps))
    tensor([2., 1.])
    """
    maps = _single(evidence.act_out)
    maps = maps if maps.dim() > 3 else maps.reshape(*maps.shape[:2], 1, -1)
    return torch.linalg.matrix_rank(maps.flatten(2, -2)).to(evidence.weight.dtype).mean(0)


def taylor_filter(evidence: Evidence) -> Tensor:
    """Remove filters the loss, to first order, does not miss (molchanov2019importance).

    score = (Σ g·w)². `filter_saliency` holds it: the sum runs over the filter before squaring, the mean
    over mini-batches after, as in the paper's "FO" on filter weights. Ranked globally. Fails where the loss
    is flat: at a perfect fit the gradients, and with them all scores, vanish.

    Examples
    --------
    >>> taylor_filter(Evidence("conv", torch.zeros(2, 1), filter_saliency=torch.tensor([0.5, 2.0])))
    tensor([0.5000, 2.0000])
    """
    return evidence.filter_saliency


def apoz(evidence: Evidence) -> Tensor:
    """Remove filters whose activations are mostly zero (hu2016network).

    score = 1 − APoZ, the share of non-zero activations over examples and positions. `act_out` is (examples,
    channels, positions...), read after the ReLU and before pooling. Layerwise. Fails where nothing is ever
    exactly zero (GELU, SiLU, no activation): then all channels score 1.

    Examples
    --------
    >>> apoz(Evidence("conv", torch.zeros(2, 1), act_out=torch.tensor([[[0.0, 1.0], [2.0, 3.0]]])))
    tensor([0.5000, 1.0000])
    """
    nonzero = (evidence.act_out != 0).to(evidence.weight.dtype)
    return nonzero.transpose(0, 1).flatten(1).mean(1)


def taylor_activation(evidence: Evidence) -> Tensor:
    """Remove feature maps the loss, to first order, does not miss (molchanov2017pruning).

    `|mean over positions of a·∂L/∂a|`, averaged over examples, then divided by the L2 norm of the layer's
    scores.

    `act_out` and `act_grad` are (examples, channels, positions...), after the activation and before pooling.
    Ranked globally, hence the division; the scale of the loss cancels. Fails at a perfect fit, where the
    gradients vanish: then all scores are 0.

    Examples
    --------
    >>> a, g = torch.tensor([[[3.0, 1.0], [1.0, 2.0]]]), torch.tensor([[[2.0, 0.0], [4.0, 2.0]]])
    >>> taylor_activation(Evidence("conv", torch.zeros(2, 1), act_out=a, act_grad=g))
    tensor([0.6000, 0.8000])
    """
    product = (evidence.act_out * evidence.act_grad).unsqueeze(-1).flatten(2)
    score = product.mean(2).abs().mean(0)
    return score / score.norm().clamp_min(torch.finfo(score.dtype).tiny)


def obd_filter(evidence: Evidence) -> Tensor:
    """Optimal brain damage, summed over each filter (wang2019eigendamage).

    score = ½ Σ h w², the paper's baseline C-OBD. h is the empirical Fisher diagonal, squared gradients of
    single examples. Ranked globally. Fails where the weights of a filter interact, which a diagonal cannot
    see, and before training has converged.

    Examples
    --------
    >>> obd_filter(Evidence("conv", torch.tensor([[1.0, 2.0]]), example_grad_sq=torch.tensor([[4.0, 0.5]])))
    tensor([3.])
    """
    return (evidence.example_grad_sq * evidence.weight.square()).flatten(1).sum(1) / 2


def chip(evidence: Evidence) -> Tensor:
    """Remove channels whose maps the others can express (sui2021chip).

    How much the nuclear norm of the maps drops without the channel:
    E_x (`‖A‖_* − ‖A with row c zeroed‖_*`). A is (channels, positions), one example's maps, taken from
    `act_out`. Layerwise. A channel that others can express scores little. Costs channels × examples SVDs,
    the most of all filter scores. Fails with one position (the output of a linear layer), where every channel is a number.

    Examples
    --------
    >>> maps = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [0.0, 2.0]]])
    >>> chip(Evidence("conv", torch.zeros(3, 1), act_out=maps))
    tensor([1.0000, 0.8284, 0.8284])
    """
    maps = _single(evidence.act_out).unsqueeze(-1).flatten(2)
    others = ~torch.eye(maps.shape[1], dtype=torch.bool)
    without = torch.stack([torch.linalg.svdvals(maps[:, rest]).sum(-1) for rest in others], 1)
    return (torch.linalg.svdvals(maps).sum(-1, keepdim=True) - without).mean(0)


def _single(tensor: Tensor) -> Tensor:
    """At least float32: torch has no distances, ranks and singular values in half precision."""
    return tensor.float() if tensor.itemsize < 4 else tensor


def slimming(evidence: Evidence) -> Tensor:
    """`|γ|` of the channel's batch norm, the mean where a group has several (liu2017learning).

    `gamma` is (k, channels). Ranked globally. Meant after sparsity training, `survey_lib.during(model,
    "slimming", ...)`, which adds the L1 subgradient on γ. Fails without it: scales of a plain network say
    little, and a following convolution can undo any scale.

    Examples
    --------
    >>> slimming(Evidence("g", torch.zeros(2, 1), gamma=torch.tensor([[-2.0, 0.5]])))
    tensor([2.0000, 0.5000])
    """
    return evidence.gamma.abs().mean(0)


def group_norm(evidence: Evidence) -> Tensor:
    """Remove coupled channels of small norm over all their slices (fang2023depgraph).

    score = the squared L2 norm, divided by the group's mean. Σ_s ‖w_s‖² is `energy`, (channels,), the sum
    over rows, columns and norm scales; biases are left out and the group's scores have mean 1 so that
    groups compare globally, both as in the reference implementation's GroupNormImportance (whose mean over
    tensors in place of the sum is the same after the division). A group of zeros scores 0. Fails, as all
    norms do, where a later norm undoes the scale.

    Examples
    --------
    >>> group_norm(Evidence("g", torch.zeros(2, 1), energy=torch.tensor([2.0, 4.0])))
    tensor([0.6667, 1.3333])
    """
    energy = evidence.energy
    return energy / energy.mean().clamp_min(torch.finfo(energy.dtype).tiny)


CANDIDATES = 16  # the reference implementation draws 1,000; 16 separate the good from the bad on small data


def eagleeye(
    sizes: dict[str, int], sparsity: float, judge: Callable[[dict[str, float]], float], seed: int
) -> dict[str, float]:
    """Try random layer ratios, each judged with batch-norm statistics of its own (li2020eagleeye).

    The ratios with the best accuracy win. Each is judged after batch-norm statistics are estimated again.
    Ratios r_l = min(c·u_l, 1 − 1/size_l) with u ~ U(0, 1) and c such that the asked fraction of all
    channels goes. `prune` estimates the statistics on every second batch and judges on the others, as the
    reference implementation judges on data of its own. Among equals the first wins. Fails when the batches
    judged on are few: then the luckiest candidate wins, not the best.

    Parameters
    ----------
    sizes : dict[str, int]
        Channels of each group.
    sparsity : float
        Fraction of all channels to remove.
    judge : Callable[[dict[str, float]], float]
        judge(ratios) is the accuracy of a candidate.
    seed : int
        Seed of the candidates.

    Returns
    -------
    dict[str, float]
        Sparsity of each group.

    Examples
    --------
    >>> ratios = eagleeye({"a": 8, "b": 8}, 0.5, lambda ratios: ratios["a"], seed=0)
    >>> ratios["a"] > ratios["b"], round(ratios["a"] + ratios["b"], 6)
    (True, 1.0)
    """
    generator = np.random.default_rng(seed)
    candidates = [_ratios(sizes, sparsity, generator.random(len(sizes))) for _ in range(CANDIDATES)]
    return max(candidates, key=judge)


def _ratios(sizes: dict[str, int], sparsity: float, draw: np.ndarray) -> dict[str, float]:
    size = np.array(list(sizes.values()))
    budget = min(sparsity * size.sum(), (size - 1).sum())
    low, high = 0.0, 1 / draw.min()
    for _ in range(60):  # bisection to the last bit that matters
        middle = (low + high) / 2
        spent = np.minimum(middle * draw * size, size - 1).sum()
        low, high = (middle, high) if spent < budget else (low, middle)
    return dict(zip(sizes, np.minimum(high * draw, 1 - 1 / size).tolist(), strict=True))


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
