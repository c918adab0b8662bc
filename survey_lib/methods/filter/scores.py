"""Methods of the category filter: an output channel and all that hangs on it.

Each score takes the Evidence of one producer and gives (channels,); higher means keep. `weight` is
(channels, in, kh, kw), or (channels, n) where a channel is several rows. Filter norms follow the reference
implementations and leave the bias out. In a coupled group the scores of the producers are averaged.

Feature maps (`act_out`) are read after the producer's norm, a residual addition, and the activation, before
any pooling, as in the reference implementations of HRank and CHIP, which read ReLUs (each block of a residual
stream after its addition). `chain.evidence.feature_maps` says how they are found.
"""

import torch
from torch import Tensor

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
