"""L0 regularisation: gates that are learned with the weights and close for good."""

import math

import torch
from torch import Tensor, nn

from survey_lib.chain.selection import cubic, select
from survey_lib.chain.training.during import END, DenseShadow

GAMMA, ZETA, BETA = -0.1, 1.1, 2 / 3  # stretch and temperature of the hard concrete distribution


def hard_concrete(log_alpha: Tensor, uniform: Tensor) -> Tensor:
    """Gates in [0, 1], exactly 0 or 1 with positive probability: clamp(s (ζ − γ) + γ) (louizos2018learning).

    s = σ((log u − log(1 − u) + log α) / β).

    Parameters
    ----------
    log_alpha : Tensor
        Log α, of any shape.
    uniform : Tensor
        u, of the same shape.

    Examples
    --------
    >>> hard_concrete(torch.zeros(3), torch.tensor([0.01, 0.5, 0.99]))
    tensor([0.0000, 0.5000, 1.0000])
    """
    noise = uniform.log() - (1 - uniform).log()
    return (((noise + log_alpha) / BETA).sigmoid() * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def gate_probability(log_alpha: Tensor) -> Tensor:
    """P(gate ≠ 0) = σ(log α − β log(−γ/ζ)), whose sum is the expected L0 norm (louizos2018learning).

    Examples
    --------
    >>> gate_probability(torch.zeros(1))
    tensor([0.8318])
    """
    return (log_alpha - BETA * math.log(-GAMMA / ZETA)).sigmoid()


class L0(DenseShadow):
    """Learn hard-concrete gates on the weights with an L0 penalty (louizos2018learning).

    Every weight has its gate, the variant of gale2019state; the paper gates input units and feature maps, so
    that what closes can be cut out. Training sees w · gate, with a new draw of the gates after each step; log
    α descends on loss + λ Σ P(gate ≠ 0) with Adam, from P(drop) = 0.1 (authors' code: 0.5), λ = 1e-3 a gate
    (paper: about 0.1 over the number of examples, for gates of whole units). As an exact sparsity is asked,
    the penalty rests while the expected density is below a cubic schedule that ends at the target; at the end
    the gates of largest log α stay, ranked globally, at their deterministic value clamp(σ(log α)(ζ − γ) + γ).
    Between steps the model holds one draw. On large networks the variance of the draws often defeats it
    (gale2019state).

    Examples
    --------
    >>> rule = L0(nn.Linear(4, 4), 0.5, steps=10)
    >>> rule.finish(); int(rule.masks["weight"].sum())
    8
    """

    PENALTY = 1e-3

    def start(self) -> None:
        self.log_alpha = {n: torch.full_like(w, math.log(9)).requires_grad_() for n, w in self.dense.items()}
        self.descent = torch.optim.Adam(self.log_alpha.values(), lr=min(0.5, 20 / self.steps))
        self.draws = torch.Generator().manual_seed(self.seed)
        self.sample()

    @torch.no_grad()
    def sample(self) -> None:
        """Draw new gates and put w · gate into the model."""
        self.uniform = {
            n: torch.rand(w.shape, generator=self.draws).clamp(1e-6, 1 - 1e-6).to(w.device)
            for n, w in self.dense.items()
        }
        gates = {name: hard_concrete(self.log_alpha[name], self.uniform[name]) for name in self.dense}
        self.masks = {name: gate > 0 for name, gate in gates.items()}
        for name, weight in self.weights.items():
            weight.copy_(self.dense[name] * gates[name])

    @torch.enable_grad()
    def penalty(self, step: int) -> Tensor:
        """λ times the expected L0 norm while that is above the schedule, else zero."""
        expected = sum(gate_probability(value).sum() for value in self.log_alpha.values())
        density = 1 - cubic(step, END * self.steps, self.sparsity)
        total = sum(value.numel() for value in self.log_alpha.values())
        return self.PENALTY * expected * (expected.detach() > density * total)

    def before(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        self.descent.zero_grad()
        self.penalty(step).backward()
        super().before(step, optimizer)

    def adjust(self, name: str, weight: nn.Parameter) -> None:
        with torch.enable_grad():
            gate = hard_concrete(self.log_alpha[name], self.uniform[name])
        gate.backward(weight.grad * weight)
        weight.grad.mul_(gate.detach())

    def dense_gradients(self, step: int) -> bool:
        return False  # a closed gate stops the gradient

    def after(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        for name, weight in self.weights.items():
            self.dense[name].copy_(weight)
        self.descent.step()
        self.sample()

    @torch.no_grad()
    def finish(self) -> None:
        self.masks = select(self.log_alpha, self.sparsity, "global")
        for name, weight in self.weights.items():
            gate = (self.log_alpha[name].sigmoid() * (ZETA - GAMMA) + GAMMA).clamp(0, 1)
            weight.copy_(self.dense[name] * gate)
