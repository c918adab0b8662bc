"""Methods that prune while training (unstructured and n:m): one small rule a method, run by `chain.during`."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from survey_lib.chain.during import Held, Shadowed
from survey_lib.chain.evidence import layer_seed
from survey_lib.chain.masks import Masks
from survey_lib.chain.patterns import misfit, n_of_m, parse
from survey_lib.chain.selection import counts, cubic, erk, keep_largest, select

END = 0.75  # share of the steps after which masks rest and the weights settle (evci2020rigging)
WARMUP = 0.1  # share of the steps before movement pruning starts, while its scores are empty


class Gradual(Held):
    """Magnitude pruning on the cubic schedule (zhu2017prune).

    sparsity_t = s (1 − (1 − t/T)³), the smallest |w| of each layer go; T is 75 % of the steps, the masks change
    a hundred times at most. Ends at exactly s whatever the period (case B07). Fast early pruning costs accuracy
    when the learning rate is still too low to recover.

    >>> layer = nn.Linear(8, 1); rule = Gradual(layer, 0.5, steps=4)
    >>> [int(rule.choose(done)["weight"].sum()) for done in (0, 1, 2, 3, 4)]
    [8, 5, 4, 4, 4]
    """

    reached = 0.0

    def choose(self, done: int) -> Masks:
        last = END * self.steps
        target = cubic(done, last, self.sparsity)
        due = done % max(1, self.steps // 100) == 0 or done >= last
        if due and target != self.reached:
            self.reached = target
            # the optimizer has just moved the pruned weights: what is gone ranks last and stays gone
            scores = {n: w.abs().masked_fill(~self.masks[n], -1) for n, w in self.weights.items()}
            self.masks = select(scores, target)
        return self.masks


class Movement(Shadowed):
    """Keep the weights that fine-tuning moves away from zero (sanh2020movement).

    score = −Σ_t g·w, added up over the steps with the gradient at the masked weights and the dense w, so that
    a pruned weight can return; pruned weights themselves get no gradient, as in the paper. Cubic schedule from
    10 % to 75 % of the steps, layer by layer; the scores' learning rate is constant. For fine-tuning: when
    training from scratch every weight moves away from zero.

    >>> layer = nn.Linear(2, 1, bias=False); optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> rule = Movement(layer, 0.5, steps=1); layer.weight.data = torch.tensor([[1.0, 1.0]])
    >>> layer.weight.grad = torch.tensor([[1.0, -1.0]]); rule.adjust("weight", layer.weight); rule.choose(1)
    {'weight': tensor([[False,  True]])}
    """

    def __init__(self, model: nn.Module, sparsity: float, steps: int, *, seed: int = 0, example=None):
        super().__init__(model, sparsity, steps, seed=seed)
        self.scores = {name: torch.zeros_like(weight) for name, weight in self.weights.items()}

    @torch.no_grad()
    def adjust(self, name: str, weight: nn.Parameter) -> None:
        self.scores[name] -= weight.grad * weight
        weight.grad.mul_(self.masks[name])

    def choose(self, done: int) -> Masks:
        return select(self.scores, cubic(done - WARMUP * self.steps, (END - WARMUP) * self.steps, self.sparsity))


class Moving(Held):
    """Sparse from the first step: some weights move to new places, sparsity stays the same at every step.

    Layers get Erdős–Rényi–kernel sparsities and random masks. Every 100 steps (or a twentieth of them) until
    75 % the smallest share α/2 (1 + cos(π t / T)), α = 0.3, of the active weights is dropped and as many inactive
    ones grow, from zero and with fresh optimizer state, just before the step is taken. Subclasses define `growth`.
    """

    def __init__(self, model: nn.Module, sparsity: float, steps: int, *, seed: int = 0, example=None):
        super().__init__(model, sparsity, steps, seed=seed)
        sizes = {name: weight.numel() for name, weight in self.weights.items()}
        removed = counts(sizes, erk({name: tuple(w.shape) for name, w in self.weights.items()}, sparsity))
        self.draws = {n: torch.Generator().manual_seed(layer_seed(seed, n)) for n in self.weights}
        self.masks = {name: keep_largest(self.draw(name), removed[name]) for name in self.weights}

    def draw(self, name: str) -> Tensor:
        weight = self.weights[name]
        return torch.rand(weight.shape, generator=self.draws[name]).to(weight.device)

    def growth(self, name: str) -> Tensor:
        """Which inactive weights grow first: the largest."""
        raise NotImplementedError

    def before(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        last, period = END * self.steps, max(1, min(100, self.steps // 20))
        if 0 < step < last and step % period == 0:
            share = 0.15 * (1 + math.cos(math.pi * step / last))
            self.masks = {name: self.move(name, share) for name in self.weights}
        for name, weight in self.weights.items():
            if weight.grad is not None:
                weight.grad.mul_(self.masks[name])

    def move(self, name: str, share: float) -> Tensor:
        """The layer's mask with its smallest weights dropped and as many inactive ones grown."""
        weight, mask = self.weights[name], self.masks[name]
        moved = min(int(share * mask.sum()), int((~mask).sum()))
        stay = mask & keep_largest(weight.abs().masked_fill(~mask, torch.inf), moved)
        return stay | keep_largest(self.growth(name).masked_fill(stay, -torch.inf), weight.numel() - moved)

    def after(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        super().after(step, optimizer)
        for name, weight in self.weights.items():
            for value in optimizer.state[weight].values():
                if isinstance(value, Tensor) and value.shape == weight.shape:
                    value.mul_(self.masks[name])


class Set(Moving):
    """Sparse evolutionary training: drop small weights, grow at random (mocanu2018scalable).

    Drop fraction, period and zero start of new weights as in the implementation of evci2020rigging, which SET
    is compared in; the original drops a constant 30 % each epoch. Random growth finds good places slowly in
    wide layers.

    >>> rule = Set(nn.Linear(8, 8), 0.75, steps=100)
    >>> int(rule.masks["weight"].sum()), int(rule.move("weight", 0.5).sum())
    (16, 16)
    """

    def growth(self, name: str) -> Tensor:
        return self.draw(name)


class RigL(Moving):
    """Rigging the lottery: drop small weights, grow where the gradient is largest (evci2020rigging).

    Growth score = |∂L/∂w| at the masked weights, which is dense; weights dropped in the same update may grow
    back, as in the reference implementation. One mini-batch decides: small batches make growth noisy.

    >>> layer = nn.Linear(4, 1, bias=False); rule = RigL(layer, 0.5, steps=100)
    >>> layer.weight.grad = torch.tensor([[9.0, 9.0, 0.1, 0.1]]); rule.masks = {"weight": layer.weight < -9}
    >>> rule.masks["weight"][0, 2:] = True; rule.move("weight", 0.5).sum()
    tensor(2)
    """

    def growth(self, name: str) -> Tensor:
        grad = self.weights[name].grad
        return torch.zeros_like(self.weights[name]) if grad is None else grad.abs()


class SparseRefined(Shadowed):
    """SR-STE: learn an N:M mask from scratch with straight-through gradients (zhou2021learning).

    Forward with the n largest |w| of every m; the dense w gets g(masked w) + λ (1 − mask)·w, λ = 2e-4 as in the
    reference implementation: pruned weights shrink, so masks settle. Layers that do not fit the pattern stay
    dense. The pattern sets the sparsity; without one it is the N of 4 nearest to the asked sparsity.

    >>> layer = nn.Linear(4, 1); layer.weight.data = torch.tensor([[4.0, 1.0, 3.0, 2.0]])
    >>> SparseRefined(layer, 0.5, steps=10, pattern="2:4").choose(1)
    {'weight': tensor([[ True, False,  True, False]])}
    """

    DECAY = 2e-4

    def __init__(self, model: nn.Module, sparsity: float, steps: int, *, seed=0, example=None, pattern="2:4"):
        super().__init__(model, sparsity, steps, seed=seed)
        self.kept, self.group = parse(pattern)
        self.weights = {n: w for n, w in self.weights.items() if not misfit(w.shape, "n:m", pattern)}
        if not self.weights:
            raise ValueError(f"no layer has a multiple of {self.group} inputs, as the pattern {pattern!r} needs")
        self.masks = self.choose(0)

    def adjust(self, name: str, weight: nn.Parameter) -> None:
        weight.grad.add_(self.DECAY * weight * ~self.masks[name])

    def choose(self, done: int) -> Masks:
        return {name: n_of_m(weight.abs(), self.kept, self.group) for name, weight in self.weights.items()}


GAMMA, ZETA, BETA = -0.1, 1.1, 2 / 3  # stretch and temperature of the hard concrete distribution


def hard_concrete(log_alpha: Tensor, uniform: Tensor) -> Tensor:
    """Gates in [0, 1], exactly 0 or 1 with positive probability: clamp(s (ζ − γ) + γ) (louizos2018learning).

    s = σ((log u − log(1 − u) + log α) / β).

    >>> hard_concrete(torch.zeros(3), torch.tensor([0.01, 0.5, 0.99]))
    tensor([0.0000, 0.5000, 1.0000])
    """
    noise = uniform.log() - (1 - uniform).log()
    return (((noise + log_alpha) / BETA).sigmoid() * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def gate_probability(log_alpha: Tensor) -> Tensor:
    """P(gate ≠ 0) = σ(log α − β log(−γ/ζ)), whose sum is the expected L0 norm (louizos2018learning).

    >>> gate_probability(torch.zeros(1))
    tensor([0.8318])
    """
    return (log_alpha - BETA * math.log(-GAMMA / ZETA)).sigmoid()


class L0(Held):
    """Learn hard-concrete gates on the weights with an L0 penalty (louizos2018learning).

    Training sees w · gate, with a new draw of the gates after each step; log α descends on
    loss + λ Σ P(gate ≠ 0) with Adam, from P(drop) = 0.1. As an exact sparsity is asked, the penalty rests while
    the expected density is below a cubic schedule that ends at the target; at the end the gates of largest
    log α stay, ranked globally, at their deterministic value clamp(σ(log α)(ζ − γ) + γ). Between steps the model
    holds one draw. On large networks the variance of the draws often defeats it (gale2019state).

    >>> rule = L0(nn.Linear(4, 4), 0.5, steps=10)
    >>> rule.finish(); int(rule.masks["weight"].sum())
    8
    """

    PENALTY = 1e-3

    def __init__(self, model: nn.Module, sparsity: float, steps: int, *, seed: int = 0, example=None):
        super().__init__(model, sparsity, steps, seed=seed)
        self.dense = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self.log_alpha = {n: torch.full_like(w, math.log(9)).requires_grad_() for n, w in self.dense.items()}
        self.descent = torch.optim.Adam(self.log_alpha.values(), lr=min(0.5, 20 / steps))
        self.draws = torch.Generator().manual_seed(seed)
        self.sample()

    @torch.no_grad()
    def sample(self) -> None:
        """Draw new gates and put w · gate into the model."""
        self.uniform = {n: torch.rand(w.shape, generator=self.draws).clamp(1e-6, 1 - 1e-6).to(w.device)
                        for n, w in self.dense.items()}  # fmt: skip
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
        for name, weight in self.weights.items():
            weight.copy_(self.dense[name])
            if weight.grad is not None:
                with torch.enable_grad():
                    gate = hard_concrete(self.log_alpha[name], self.uniform[name])
                gate.backward(weight.grad * weight)
                weight.grad.mul_(gate.detach())

    def after(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        for name, weight in self.weights.items():
            self.dense[name].copy_(weight)
        self.descent.step()
        self.sample()

    @torch.no_grad()
    def finish(self) -> None:
        self.masks = select(self.log_alpha, self.sparsity, "global")
        for name, weight in self.weights.items():
            weight.copy_(self.dense[name] * (self.log_alpha[name].sigmoid() * (ZETA - GAMMA) + GAMMA).clamp(0, 1))
