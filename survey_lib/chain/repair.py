"""Repair without gradient descent: least squares on a layer's inputs."""

import torch
from torch import Tensor

DAMPING = 0.01  # share of the mean diagonal, as in the reference implementation of frantar2023sparsegpt


def damped(gram: Tensor) -> tuple[Tensor, Tensor]:
    """X Xᵀ in float64 made invertible, and which inputs are dead (always zero).

    Dead inputs get 1 on the diagonal, all inputs 1 % of the mean diagonal.

    Examples
    --------
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

    Ŵ_S = W H_{:,S} (H_SS)⁻¹, zero elsewhere; the sum of the updates that OBS makes weight by weight.

    Parameters
    ----------
    weight : Tensor
        Weight (out, k).
    hessian : Tensor
        H = X Xᵀ (k, k).
    keep : Tensor
        Bool (k,), True = kept.

    Raises
    ------
    torch.linalg.LinAlgError
        If H_SS is singular (`damped`).

    Examples
    --------
    >>> least_squares(torch.ones(1, 2), torch.tensor([[2.0, 1.0], [1.0, 2.0]]), torch.tensor([True, False]))
    tensor([[1.5000, 0.0000]])
    """
    solved = torch.zeros_like(weight)
    if keep.any():
        solved[:, keep] = torch.linalg.solve(hessian[keep][:, keep], (weight @ hessian[:, keep]).mT).mT
    return solved
