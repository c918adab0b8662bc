"""Methods of the category channel that reconstruct the next layer: choose its input channels, then refit.

A `solve` method takes the Evidence of a group and the number of channels to remove, and gives the keep-mask
(channels,) and the consumers' new weights, {tensor name: (channels, n, out)}; `channels.write_consumers` puts
them back, and adds {bias name: (out,)}. Everything follows from the second moments of what the consumers
read. `prune` goes from group to group: each is seen in the network pruned and repaired so far, as in both
papers.
"""

import numpy as np
import torch
from torch import Tensor

from survey_lib.chain.evidence.base import Consumer, Evidence
from survey_lib.chain.selection import keep_largest

Repaired = dict[str, Tensor]


def contributions(consumer: Consumer, gram: Tensor | None = None) -> Tensor:
    """Inner products of the channels' contributions to a consumer's output, G_ij = ⟨X_i W_i, X_j W_j⟩.

    (channels, channels) in float64, summed over positions and outputs, from the gram of the inputs alone (the
    consumer's own, or another). Removing the set T changes the output by 1ᵀ G_TT 1.

    Parameters
    ----------
    consumer : Consumer
        A layer that reads the group.
    gram : Tensor, optional
        In place of the consumer's own.

    Examples
    --------
    >>> gram, zero = torch.tensor([[3.0, 1.0], [1.0, 5.0]]), torch.zeros(2)
    >>> contributions(Consumer("w", torch.tensor([[[1.0]], [[2.0]]]), gram, gram, zero, zero, 1)).tolist()
    [[3.0, 2.0], [2.0, 20.0]]
    """
    count, width, _ = consumer.weight.shape
    flat = consumer.weight.flatten(0, 1).double()
    products = (consumer.gram if gram is None else gram) * (flat @ flat.mT)
    return products.view(count, width, count, width).sum((1, 3))


def thinet(evidence: Evidence, removed: int) -> tuple[Tensor, Repaired]:
    """Greedily remove the channels that the next layer's output misses least (luo2017thinet).

    The kept ones are then rescaled by least squares. The removed set T grows by argmin_j ‖Σ_{t ∈ T ∪ j} X_t
    W_t‖²; then each kept channel's weights are multiplied by the β that minimises ‖Y − Σ_kept β_c X_c W_c‖².
    X and Y are inputs and output of the layer in the network pruned so far (equation 3 of the paper, Y = Σ_c
    X_c W_c, and the authors' code), not in the dense one as in `lasso`. The authors sample positions and
    outputs; here all are used, and the outputs of all consumers are counted. They fine-tune for an epoch or
    two after each layer, which also renews the batch-norm statistics: here estimate those again after
    pruning, or the accuracy before recovery says little. Fails where greedy does: pairs that cancel are found
    only one by one.

    Parameters
    ----------
    evidence : Evidence
        Evidence of the group, with `consumers`.
    removed : int
        Number of channels to remove.

    Returns
    -------
    tuple[Tensor, Repaired]
        Keep (channels,) and the consumers' weights.

    Examples
    --------
    >>> gram, zero = torch.diag(torch.tensor([4.0, 1.0, 9.0]).double()), torch.zeros(3).double()
    >>> consumer = Consumer("w", torch.ones(3, 1, 1), gram, gram, zero, zero, 1)
    >>> thinet(Evidence("g", torch.zeros(3, 1), consumers=(consumer,)), 1)[0]
    tensor([ True, False,  True])
    """
    inner = [contributions(consumer) for consumer in evidence.consumers]
    total = sum(inner).cpu().numpy()
    keep, cross = np.ones(len(total), bool), np.zeros(len(total))
    for _ in range(removed):
        change = np.where(keep, total.diagonal() + 2 * cross, np.inf)
        worst = int(change.argmin())
        keep[worst] = False
        cross += total[:, worst]
    kept = torch.from_numpy(keep)
    return kept, {c.tensor: _rescaled(c, g, kept) for c, g in zip(evidence.consumers, inner, strict=True)}


def _rescaled(consumer: Consumer, inner: Tensor, keep: Tensor) -> Tensor:
    scale = torch.zeros_like(inner[0])
    scale[keep] = torch.linalg.solve(_regular(inner)[keep][:, keep], inner.sum(1)[keep])
    return consumer.weight * scale.view(-1, 1, 1).to(consumer.weight)


def lasso(evidence: Evidence, removed: int) -> tuple[Tensor, Repaired]:
    """LASSO chooses the input channels of the next layer, least squares refits its weights (he2017channel).

    min_β ½‖Y − Σ_c β_c X_c W_c − b‖² + λ‖β‖₁, X what the layer reads in the network pruned so far, Y its
    output in the dense one, solved along the whole path of λ (scikit-learn's LARS): the last point with no
    more non-zero β than channels to keep; places left over go to the channels next to enter. Then W', b =
    argmin ‖Y − X_kept W' − b‖² for each consumer. A consumer without bias has no intercept b: its batch norm
    has a shift already. Fails on duplicated channels: the path takes either of them.

    Parameters
    ----------
    evidence : Evidence
        Evidence of the group, with `consumers`.
    removed : int
        Number of channels to remove.

    Returns
    -------
    tuple[Tensor, Repaired]
        Keep (channels,), the consumers' weights and what their biases gain.

    Examples
    --------
    >>> gram, zero = torch.diag(torch.tensor([4.0, 1.0, 9.0]).double()), torch.zeros(3).double()
    >>> consumer = Consumer("w", torch.ones(3, 1, 1), gram, gram, zero, zero, 1)
    >>> lasso(Evidence("g", torch.zeros(3, 1), consumers=(consumer,)), 1)[0]
    tensor([ True, False,  True])
    """
    centred = [_centred(consumer) for consumer in evidence.consumers]
    parts = list(zip(evidence.consumers, centred, strict=True))
    inner, target = (sum(contributions(c, found[which]) for c, found in parts) for which in (0, 1))
    keep = keep_largest(lasso_order(inner, target.sum(1), len(inner) - removed), removed)
    repaired: Repaired = {}
    for consumer, (gram, cross) in parts:
        repaired |= _refitted(consumer, gram, cross, keep)
    return keep, repaired


def _centred(consumer: Consumer) -> tuple[Tensor, Tensor]:
    """X Xᵀ and X Dᵀ about their means: what an intercept leaves to explain."""
    mean = consumer.count * consumer.mean[:, None]
    return consumer.gram - mean * consumer.mean, consumer.cross - mean * consumer.dense_mean


def lasso_order(inner: Tensor, target: Tensor, kept: int) -> Tensor:
    """Rank of each channel (higher = keep) by the LASSO path.

    Channels that are non-zero on the path come first, then the others by correlation with what is left
    unexplained, which decides who enters next.

    Parameters
    ----------
    inner : Tensor
        Inner products of the channels' contributions (channels, channels).
    target : Tensor
        Their products with the output to explain (channels,).
    kept : int
        Number of channels to keep.
    """
    from sklearn.linear_model import lars_path_gram  # slow to import, and only this method needs it

    scale = inner.diagonal().max().clamp_min(torch.finfo(inner.dtype).tiny)
    gram, aim = (inner / scale).cpu().numpy(), (target / scale).cpu().numpy()
    _, _, path = lars_path_gram(aim, gram, n_samples=1, method="lasso")
    point = max(i for i in range(path.shape[1]) if np.count_nonzero(path[:, i]) <= kept)
    beta = path[:, point]
    residual = np.abs(aim - gram @ beta)
    return torch.from_numpy(np.lexsort((residual, np.abs(beta))).argsort())


def _refitted(consumer: Consumer, gram: Tensor, cross: Tensor, keep: Tensor) -> Repaired:
    columns = keep.repeat_interleave(consumer.weight.shape[1])
    dense = consumer.weight.flatten(0, 1).double()  # (channels·n, out)
    fitted = torch.zeros_like(dense)
    fitted[columns] = torch.linalg.solve(_regular(gram)[columns][:, columns], cross[columns] @ dense)
    repaired = {consumer.tensor: fitted.view(consumer.weight.shape).to(consumer.weight)}
    if consumer.mean.any() or consumer.dense_mean.any():
        shift = consumer.dense_mean @ dense - consumer.mean @ fitted
        repaired[consumer.tensor.removesuffix("weight") + "bias"] = shift.to(consumer.weight)
    return repaired


def _regular(gram: Tensor) -> Tensor:
    """The gram with 1e-8 of its mean diagonal added: dead and duplicated inputs stay solvable."""
    gram = gram.double()
    ridge = 1e-8 * gram.diagonal().mean().clamp_min(torch.finfo(gram.dtype).tiny)
    return gram + ridge * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
