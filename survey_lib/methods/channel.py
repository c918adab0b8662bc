"""Methods of the category channel: coupled groups, batch-norm scales, input channels.

Scores take the Evidence of one producer of a group and give (channels,), higher means keep; what they read
(`slices`, `gamma`, `consumers`) belongs to the whole group, so all producers give the same.
"""

from __future__ import annotations

import torch
from torch import Tensor

from survey_lib.chain.evidence import Evidence


def slimming(evidence: Evidence) -> Tensor:
    """|γ| of the channel's batch norm, the mean where a group has several (liu2017learning).

    `gamma` is (k, channels). Ranked globally. Meant after sparsity training, `survey_lib.during(model,
    "slimming", ...)`, which adds the L1 subgradient on γ. Fails without it: scales of a plain network say
    little, and a following convolution can undo any scale.

    >>> slimming(Evidence("g", torch.zeros(2, 1), gamma=torch.tensor([[-2.0, 0.5]])))
    tensor([2.0000, 0.5000])
    """
    return evidence.gamma.abs().mean(0)


def group_norm(evidence: Evidence) -> Tensor:
    """Squared L2 norm over every slice of a coupled channel, Σ_s ‖w_s‖², divided by the group's mean
    (fang2023depgraph).

    `slices` is (channels, n): rows, columns and norm scales; biases are left out and the group's scores have
    mean 1 so that groups compare globally, both as in the reference implementation's GroupNormImportance
    (whose mean over tensors in place of the sum is the same after the division). A group of zeros scores 0.
    Fails, as all norms do, where a later norm undoes the scale.

    >>> group_norm(Evidence("g", torch.zeros(2, 1), slices=torch.tensor([[1.0, 1.0], [2.0, 0.0]])))
    tensor([0.6667, 1.3333])
    """
    energy = evidence.slices.square().sum(1)
    return energy / energy.mean().clamp_min(torch.finfo(energy.dtype).tiny)
