"""Methods that prune a dense network while it trains: one small rule a method, run by `chain.during`."""

from __future__ import annotations

import torch
from torch import nn

from survey_lib.chain.during import END, Held, Shadowed
from survey_lib.chain.masks import Masks
from survey_lib.chain.patterns import misfit, n_of_m, parse
from survey_lib.chain.selection import cubic, select

WARMUP = 0.1  # share of the steps before movement pruning starts, while its scores are empty


class Gradual(Held):
    """Magnitude pruning on the cubic schedule (zhu2017prune).

    sparsity_t = s (1 − (1 − t/T)³), the smallest |w| of each layer go; T is 75 % of the steps, the masks
    change a hundred times at most. Ends at exactly s whatever the period (case B07). Fast early pruning
    costs accuracy when the learning rate is still too low to recover.

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

    score = −Σ_t g·w, added up over the steps with the gradient at the masked weights and the dense w, so
    that a pruned weight can return; pruned weights themselves get no gradient, as in the paper. Cubic
    schedule from 10 % to 75 % of the steps, layer by layer; the scores' learning rate is constant. For
    fine-tuning: when training from scratch every weight moves away from zero.

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
        return select(
            self.scores, cubic(done - WARMUP * self.steps, (END - WARMUP) * self.steps, self.sparsity)
        )


class SparseRefined(Shadowed):
    """SR-STE: learn an N:M mask from scratch with straight-through gradients (zhou2021learning).

    Forward with the n largest |w| of every m; the dense w gets g(masked w) + λ (1 − mask)·w, λ = 2e-4 as in
    the reference implementation: pruned weights shrink, so masks settle. Layers that do not fit the pattern
    stay dense. The pattern sets the sparsity; without one it is the N of 4 nearest to the asked sparsity.

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
            raise ValueError(
                f"no layer has a multiple of {self.group} inputs, as the pattern {pattern!r} needs"
            )
        self.masks = self.choose(0)

    def adjust(self, name: str, weight: nn.Parameter) -> None:
        weight.grad.add_(self.DECAY * weight * ~self.masks[name])

    def choose(self, done: int) -> Masks:
        return {name: n_of_m(weight.abs(), self.kept, self.group) for name, weight in self.weights.items()}
