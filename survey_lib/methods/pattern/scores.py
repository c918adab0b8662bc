"""Pattern scores (semi-structured): what each paper adds, one pure function a method.

Scores are elementwise; `chain.patterns` sums them over kernels, vectors and blocks, or ranks them among every
m neighbours.
"""

import torch
from torch import Tensor

from survey_lib.chain.evidence.base import Evidence


def nm_magnitude(evidence: Evidence) -> Tensor:
    """Keep the n largest of every m inputs (mishra2021accelerating).

    `score = |w|`; the n largest of each group of m stay (2:4 runs on sparse tensor cores; any n:m here).
    Layers whose input count is no multiple of m are left whole. Needs training afterwards: among four
    large weights two must go.

    Examples
    --------
    >>> nm_magnitude(Evidence("w", torch.tensor([[4.0, -1.0, 3.0, 2.0]])))
    tensor([[4., 1., 3., 2.]])
    """
    return evidence.weight.abs()


def channel_permutation(score: Tensor, n: int, m: int) -> Tensor:
    """Reorder channels so that the n largest of every m inputs hold more (pool2021channel).

    Two channels of different groups of m change places as long as the n largest of every group in every row
    then sum to more; in each pass the best swaps of groups not yet touched. Ends where no swap helps: a local
    optimum, which the paper leaves by random swaps and by reordering two groups whole. Nothing to gain where
    all channels are alike.

    Parameters
    ----------
    score : Tensor
        Score (rows, channels).
    n : int
        Kept in each group.
    m : int
        Size of a group.

    Examples
    --------
    >>> channel_permutation(torch.tensor([[4.0, 3.0, 0.0, 1.0]]), 1, 2)  # 4 and 3 in one group: one must go
    tensor([2, 1, 0, 3])
    """
    order = torch.arange(score.shape[1], device=score.device)
    others = torch.tensor([[i for i in range(m) if i != left] for left in range(m)])
    same = (order[:, None] // m) == (order // m)
    while n < m:
        placed = score[:, order].double()
        best = placed.unflatten(1, (-1, m))[:, :, others].topk(n).values.flatten(1, 2)  # of the m − 1 others
        # with channel x in place of c its group keeps best.sum() and, where x is larger, x instead of the n-th
        gain = torch.stack([(placed - least[:, None]).relu().sum(0) for least in best[..., -1].unbind(1)])
        gain = (gain - gain.diagonal()[:, None]).masked_fill(same, 0)
        gain = gain + gain.T
        if gain.max() <= 1e-9 * placed.abs().sum():
            break
        while gain.max() > 1e-9 * placed.abs().sum():
            one, two = divmod(int(gain.argmax()), len(order))
            order[[one, two]] = order[[two, one]]
            touched = same[one] | same[two]
            gain[touched] = gain[:, touched] = 0
    return order


def block(evidence: Evidence) -> Tensor:
    """Remove blocks of neighbouring kernels; 1xN shares one input (lin2022pattern).

    `score = |w|`, summed over each block (L1). `1xN` are N consecutive output kernels that share an input
    channel, so that N outputs reuse one load; `RxC` are R inputs by C outputs. The paper's optional
    rearrangement of filters is left out. Layers that are no multiple of the block are left whole.

    Examples
    --------
    >>> block(Evidence("w", torch.tensor([[-1.0], [2.0]])))
    tensor([[1.],
            [2.]])
    """
    return evidence.weight.abs()


def kernel(evidence: Evidence) -> Tensor:
    """Remove whole two-dimensional kernels (mao2017exploring).

    `score = |w|`, summed over the kernel of one input and output channel (L1). Coarser than vectors: less to
    store, less accurate at the same sparsity. Convolutions with kernels wider than 1 only.

    Examples
    --------
    >>> kernel(Evidence("w", torch.full((1, 1, 1, 2), -1.0)))
    tensor([[[[1., 1.]]]])
    """
    return evidence.weight.abs()


def vector(evidence: Evidence) -> Tensor:
    """Remove rows inside kernels (mao2017exploring).

    `score = |w|`, summed along the width of the kernel (L1): the grain between weights and kernels.
    Convolutions with kernels wider than 1 only.

    Examples
    --------
    >>> vector(Evidence("w", torch.full((1, 1, 1, 2), -1.0)))
    tensor([[[[1., 1.]]]])
    """
    return evidence.weight.abs()
