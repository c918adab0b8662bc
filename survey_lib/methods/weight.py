"""Weight scores (unstructured): what each paper adds, one pure function a method.

A score reads the `Evidence` of one layer and returns a tensor of the weight's shape; higher means keep.
"""

from __future__ import annotations

import torch
from torch import Tensor

from survey_lib.chain.evidence import Evidence


def random(evidence: Evidence) -> Tensor:
    """Seeded uniform scores, the baseline every criterion has to beat.

    score ~ U[0, 1), drawn from the layer's own seed, so layers of equal shape get different masks (case B55).

    >>> first, again = (random(Evidence("w", torch.ones(2, 2), seed=3)) for _ in range(2))
    >>> torch.equal(first, again)
    True
    """
    generator = torch.Generator().manual_seed(evidence.seed)
    return torch.rand(evidence.weight.shape, generator=generator).to(evidence.weight.device)


def magnitude(evidence: Evidence) -> Tensor:
    """Magnitude of each weight (han2015learning).

    score = |w|. Blind to the scale of the inputs: a small weight on a large input goes first; layers of
    different scale make its global ranking empty whole layers.

    >>> magnitude(Evidence("w", torch.tensor([[-2.0, 1.0]])))
    tensor([[2., 1.]])
    """
    return evidence.weight.abs()


def snip(evidence: Evidence) -> Tensor:
    """Connection sensitivity at initialisation (lee2019snip).

    score = |g·w|, ranked globally; the reference implementation's division by the global sum keeps the order.
    Fails at high sparsity by cutting whole layers, as the loss is only looked at once.

    >>> snip(Evidence("w", torch.tensor([[2.0, -1.0]]), grad=torch.tensor([[0.5, 3.0]])))
    tensor([[1., 3.]])
    """
    return (evidence.grad * evidence.weight).abs()


def synflow(evidence: Evidence) -> Tensor:
    """Synaptic flow, without data (tanaka2020pruning).

    score = |w · ∂R/∂w| with R = 1ᵀ Π_l |W_l| 1, float64, computed again in each of 100 rounds whose density
    falls exponentially. In a layer without bias the scores of a unit's inputs and outputs sum to the same
    flow, so no layer empties before the others. Looks at no data: at low sparsity SNIP is better.

    >>> synflow(Evidence("w", torch.tensor([[2.0, -1.0]]), flow=torch.tensor([[0.5, 3.0]])))
    tensor([[1., 3.]])
    """
    return evidence.weight.abs() * evidence.flow
