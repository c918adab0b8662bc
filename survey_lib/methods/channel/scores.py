"""Methods of the category channel: coupled groups and batch-norm scales.

Scores take the Evidence of one producer of a group and give (channels,), higher means keep; what they read
(`energy`, `gamma`) belongs to the whole group, so all producers give the same. Methods that reconstruct the
next layer stand in `reconstruction`.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from survey_lib.chain.evidence.base import Evidence


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
