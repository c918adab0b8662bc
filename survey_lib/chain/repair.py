"""Repairs without gradient descent: least squares on a layer's inputs, batch-norm statistics."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from survey_lib.chain.evidence.weights import call, pairs

DAMPING = 0.01  # share of the mean diagonal, as in the reference implementation of frantar2023sparsegpt


def damped(gram: Tensor) -> tuple[Tensor, Tensor]:
    """X Xᵀ in float64 made invertible, and which inputs are dead (always zero).

    Dead inputs get 1 on the diagonal, all inputs 1 % of the mean diagonal.

    >>> damped(torch.tensor([[4.0, 0.0], [0.0, 0.0]]))[1]
    tensor([False,  True])
    """
    hessian = gram.double().clone()
    dead = hessian.diagonal() == 0
    hessian.diagonal()[dead] = 1
    hessian.diagonal().add_(DAMPING * hessian.diagonal().mean())
    return hessian, dead


def least_squares(weight: Tensor, hessian: Tensor, keep: Tensor) -> Tensor:
    """The weights on the kept inputs that change the layer's output least: argmin ‖(W − Ŵ) X‖².

    weight (out, k), hessian = X Xᵀ (k, k), keep (k,) bool. Ŵ_S = W H_{:,S} (H_SS)⁻¹, zero elsewhere; the
    sum of the updates that OBS makes weight by weight. Raises torch.linalg.LinAlgError if H_SS is singular
    (`damped`).

    >>> least_squares(torch.ones(1, 2), torch.tensor([[2.0, 1.0], [1.0, 2.0]]), torch.tensor([True, False]))
    tensor([[1.5000, 0.0000]])
    """
    solved = torch.zeros_like(weight)
    if keep.any():
        solved[:, keep] = torch.linalg.solve(hessian[keep][:, keep], (weight @ hessian[:, keep]).mT).mT
    return solved


@torch.no_grad()
def reestimate_batch_norm(model: nn.Module, batches: Iterable) -> nn.Module:
    """Replace the running statistics of all batch norms by cumulative averages over `batches`, in place.

    mean = average of the batch means, var = average of the batch variances, whatever the norms' momentum
    (case B54). Weights, mode, momentum and gradients stay as they are; pass training data, never the test
    split. Raises ValueError if `batches` is empty; if the forward raises, nothing was changed.

    >>> norm = nn.BatchNorm1d(1).eval(); _ = reestimate_batch_norm(norm, [torch.tensor([[4.0], [6.0]])])
    >>> norm.running_mean
    tensor([5.])
    """
    subject = copy.deepcopy(model).eval()
    norms = {n: m for n, m in subject.named_modules() if isinstance(m, _BatchNorm) and m.track_running_stats}
    for norm in norms.values():
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    examples = pairs(batches)
    if not examples:
        raise ValueError("batch-norm statistics are estimated from batches, but batches is empty")
    with torch.random.fork_rng():
        for x, _ in examples:
            call(subject, x)
    for name, norm in norms.items():
        for buffer, value in model.get_submodule(name).named_buffers(recurse=False):
            value.copy_(getattr(norm, buffer))
    return model
