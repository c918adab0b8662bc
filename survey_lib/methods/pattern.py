"""Pattern scores (semi-structured): what each paper adds, one pure function a method.

Scores are elementwise; `chain.patterns` sums them over kernels, vectors and blocks, or ranks them among every
m neighbours.
"""

from __future__ import annotations

from torch import Tensor

from survey_lib.chain.evidence import Evidence


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
