"""What was observed of one layer, or of one producer layer of a channel group.

`collect` runs the model on batches and leaves it exactly as found: weights, buffers, mode, flags, hooks,
gradients and the random state (rule 2).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Evidence:
    """Observations of one layer's weight (methods that score weights) or of the rows of one producer of a
    channel group (methods that score channels: axis 0 is then the group's channel, in the group's order).

    name            parameter name ("conv1.weight"), or "group:layer"
    weight          the weight, (out, in, kh, kw) or (out, in); for groups (channels, ...) the rows
    seed            a seed of its own for each layer, for methods that draw
    grad            mean over mini-batches of ∂L/∂w
    grad_sq         mean over mini-batches of (∂L/∂w)²
    example_grad_sq mean over single examples of (∂L/∂w)²: the empirical Fisher diagonal
    filter_saliency (channels,) mean over mini-batches of (Σ over the filter of g·w)²
    hess_grad       H·g, the Hessian times the mean gradient
    act_norm        (in,) ‖x_j‖₂ of each input feature over all tokens or positions
    gram            X Xᵀ of the layer's inputs, (in·kh·kw, in·kh·kw)
    act_out         (examples, channels, positions...) maps as the next layer reads them
    act_grad        ∂L/∂act_out, same shape
    gamma           (k, channels) scales of the k batch norms of the group
    slices          (channels, n) every slice of every tensor of the group, side by side
    """

    name: str
    weight: Tensor
    seed: int = 0
    grad: Tensor | None = None
    grad_sq: Tensor | None = None
    example_grad_sq: Tensor | None = None
    filter_saliency: Tensor | None = None
    hess_grad: Tensor | None = None
    act_norm: Tensor | None = None
    gram: Tensor | None = None
    act_out: Tensor | None = None
    act_grad: Tensor | None = None
    gamma: Tensor | None = None
    slices: Tensor | None = None
