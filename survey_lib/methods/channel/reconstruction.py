"""Methods of the category channel that reconstruct the next layer: choose its input channels, then refit.

A `solve` method takes the Evidence of a group and the number of channels to remove, and gives the keep-mask
(channels,) and the consumers' new weights, {tensor name: (channels, n, out)}; `channels.write_consumers` puts
them back. Everything follows from the second moments of what the consumers read.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import lars_path_gram
from torch import Tensor

from survey_lib.chain.evidence.base import Consumer, Evidence
from survey_lib.chain.repair import least_squares
from survey_lib.chain.selection import keep_largest

Repaired = dict[str, Tensor]


def contributions(consumer: Consumer) -> Tensor:
    """Inner products of the channels' contributions to a consumer's output, G_ij = ⟨X_i W_i, X_j W_j⟩.

    (channels, channels) in float64, summed over positions and outputs, from the gram of the inputs alone.
    Removing the set T changes the output by 1ᵀ G_TT 1.

    >>> weight = torch.tensor([[[1.0]], [[2.0]]])
    >>> contributions(Consumer("w", weight, torch.tensor([[3.0, 1.0], [1.0, 5.0]]))).tolist()
    [[3.0, 2.0], [2.0, 20.0]]
    """
    count, width, _ = consumer.weight.shape
    flat = consumer.weight.flatten(0, 1).double()
    return (consumer.gram * (flat @ flat.mT)).view(count, width, count, width).sum((1, 3))


def thinet(evidence: Evidence, removed: int) -> tuple[Tensor, Repaired]:
    """Greedily remove the channels whose loss changes the next layer's output least, then rescale the kept
    ones by least squares (luo2017thinet).

    T grows by argmin_j ‖Σ_{t ∈ T ∪ j} X_t W_t‖²; then each kept channel's weights are multiplied by the β
    that minimises ‖Σ_all X_c W_c − Σ_kept β_c X_c W_c‖². The reference samples positions; here the second
    moments of all positions are used, and the outputs of all consumers are counted. Returns keep
    (channels,) and the consumers' weights. Groups are judged on the dense model, not after one another.
    Fails where greedy does: pairs that cancel are found only one by one.

    >>> consumer = Consumer("w", torch.ones(3, 1, 1), torch.diag(torch.tensor([4.0, 1.0, 9.0])))
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
    scale = least_squares(torch.ones(1, len(keep), dtype=inner.dtype), _regular(inner), keep)
    return consumer.weight * scale.view(-1, 1, 1).to(consumer.weight)


def lasso(evidence: Evidence, removed: int) -> tuple[Tensor, Repaired]:
    """LASSO chooses the input channels of the next layer, least squares refits its weights (he2017channel).

    min_β ½‖Y − Σ_c β_c X_c W_c‖² + λ‖β‖₁, solved along the whole path of λ (scikit-learn's LARS): the last
    point with no more non-zero β than channels to keep; places left over go to the channels next to enter.
    Then W' = argmin ‖Y − X_kept W'‖² for each consumer. As in the reference implementation there is no
    intercept and the bias is left alone. Returns keep (channels,) and the consumers' weights. Fails on
    duplicated channels: the path takes either of them.

    >>> consumer = Consumer("w", torch.ones(3, 1, 1), torch.diag(torch.tensor([4.0, 1.0, 9.0])))
    >>> lasso(Evidence("g", torch.zeros(3, 1), consumers=(consumer,)), 1)[0]
    tensor([ True, False,  True])
    """
    inner = sum(contributions(consumer) for consumer in evidence.consumers)
    keep = keep_largest(lasso_order(inner, len(inner) - removed), removed)
    return keep, {consumer.tensor: _refitted(consumer, keep) for consumer in evidence.consumers}


def lasso_order(inner: Tensor, kept: int) -> Tensor:
    """Rank of each channel (higher = keep): non-zero on the LASSO path first, then by correlation with what
    is left unexplained, which decides who enters next."""
    gram = (inner / inner.diagonal().max().clamp_min(torch.finfo(inner.dtype).tiny)).cpu().numpy()
    target = gram.sum(1)
    _, _, path = lars_path_gram(target, gram, n_samples=1, method="lasso")
    point = max(i for i in range(path.shape[1]) if np.count_nonzero(path[:, i]) <= kept)
    beta = path[:, point]
    residual = np.abs(target - gram @ beta)
    return torch.from_numpy(np.lexsort((residual, np.abs(beta))).argsort())


def _refitted(consumer: Consumer, keep: Tensor) -> Tensor:
    count, width, outputs = consumer.weight.shape
    columns = keep.repeat_interleave(width)
    flat = consumer.weight.flatten(0, 1).mT.double()  # (out, channels·n)
    solved = least_squares(flat, _regular(consumer.gram), columns)
    return solved.mT.reshape(count, width, outputs).to(consumer.weight)


def _regular(gram: Tensor) -> Tensor:
    """The gram with 1e-8 of its mean diagonal added: dead and duplicated inputs stay solvable."""
    gram = gram.double()
    ridge = 1e-8 * gram.diagonal().mean().clamp_min(torch.finfo(gram.dtype).tiny)
    return gram + ridge * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
