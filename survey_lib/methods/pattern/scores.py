"""Pattern scores (semi-structured): what each paper adds, one pure function a method.

Scores are elementwise; `chain.patterns` sums them over kernels, vectors and blocks, or ranks them among every
m neighbours.
"""

from __future__ import annotations

from torch import Tensor

from survey_lib.chain.evidence.base import Evidence


def nm_magnitude(evidence: Evidence) -> Tensor:
    """Magnitude within every m neighbours along the input dimension (mishra2021accelerating).

    score = |w|; the n largest of each group of m stay (2:4 runs on sparse tensor cores; any n:m here).
    Layers whose input count is no multiple of m are left whole. Needs training afterwards: among four
    large weights two must go.

    >>> import torch
    >>> nm_magnitude(Evidence("w", torch.tensor([[4.0, -1.0, 3.0, 2.0]])))
    tensor([[4., 1., 3., 2.]])
    """
    return evidence.weight.abs()


def block(evidence: Evidence) -> Tensor:
    """Magnitude of blocks of neighbouring kernels (lin2022pattern).

    score = |w|, summed over each block (L1). `1xN` are N consecutive output kernels that share an input
    channel, so that N outputs reuse one load; `RxC` are R inputs by C outputs. The paper's optional
    rearrangement of filters is left out. Layers that are no multiple of the block are left whole.

    >>> import torch
    >>> block(Evidence("w", torch.tensor([[-1.0], [2.0]])))
    tensor([[1.],
            [2.]])
    """
    return evidence.weight.abs()


def kernel(evidence: Evidence) -> Tensor:
    """Magnitude of whole two-dimensional kernels (mao2017exploring).

    score = |w|, summed over the kernel of one input and output channel (L1). Coarser than vectors: less to
    store, less accurate at the same sparsity. Convolutions with kernels wider than 1 only.

    >>> import torch
    >>> kernel(Evidence("w", torch.full((1, 1, 1, 2), -1.0)))
    tensor([[[[1., 1.]]]])
    """
    return evidence.weight.abs()


def vector(evidence: Evidence) -> Tensor:
    """Magnitude of the rows inside kernels (mao2017exploring).

    score = |w|, summed along the width of the kernel (L1): the grain between weights and kernels.
    Convolutions with kernels wider than 1 only.

    >>> import torch
    >>> vector(Evidence("w", torch.full((1, 1, 1, 2), -1.0)))
    tensor([[[[1., 1.]]]])
    """
    return evidence.weight.abs()
