"""Sparse training: networks that are sparse from the first step and move their weights about (SET, RigL, SRigL)."""

import math

import torch
from torch import Tensor

from survey_lib.chain.evidence.base import layer_seed
from survey_lib.chain.selection import keep_in_rows, keep_largest, select
from survey_lib.chain.training.during import END, MaskedTraining


class DynamicSparse(MaskedTraining):
    """Sparse from the first step: some weights move to new places, sparsity stays the same at every step.

    Layers get Erdős–Rényi–kernel sparsities and random masks. Every 100 steps (or a twentieth of them)
    until 75 % the smallest share α/2 (1 + cos(π t / T)), α = 0.3, of the active weights is dropped and as
    many inactive ones grow, from zero and with fresh optimizer state, just before the step is taken.
    Subclasses define `growth`.
    """

    def start(self) -> None:
        self.draws = {n: torch.Generator().manual_seed(layer_seed(self.seed, n)) for n in self.weights}
        self.masks = select({name: self.draw(name) for name in self.weights}, self.sparsity, "erk")

    def draw(self, name: str) -> Tensor:
        """Uniform random numbers, one a weight of the layer."""
        weight = self.weights[name]
        return torch.rand(weight.shape, generator=self.draws[name]).to(weight.device)

    def growth(self, name: str) -> Tensor:
        """Which inactive weights grow first: the largest."""
        raise NotImplementedError

    def due(self, step: int) -> bool:
        """Whether weights move at this step."""
        return 0 < step < END * self.steps and step % max(1, min(100, self.steps // 20)) == 0

    def before(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        if self.due(step):
            share = 0.15 * (1 + math.cos(math.pi * step / (END * self.steps)))
            self.masks = {name: self.move(name, share) for name in self.weights}
            self.moved(optimizer)
        for name, weight in self.weights.items():
            if weight.grad is not None:
                weight.grad.masked_fill_(~self.masks[name], 0)

    def moved(self, optimizer: torch.optim.Optimizer) -> None:
        """Weights have moved, and the optimizer is about to step."""

    def move(self, name: str, share: float) -> Tensor:
        """The layer's mask with its smallest weights dropped and as many inactive ones grown.

        Parameters
        ----------
        name : str
            Name of the layer.
        share : float
            Share of its active weights.
        """
        weight, mask = self.weights[name], self.masks[name]
        moved = min(int(share * mask.sum()), int((~mask).sum()))
        stay = mask & keep_largest(weight.abs().masked_fill(~mask, torch.inf), moved)
        return stay | keep_largest(self.growth(name).masked_fill(stay, -torch.inf), weight.numel() - moved)

    def after(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        super().after(step, optimizer)
        for name, weight in self.weights.items():
            for value in optimizer.state.get(weight, {}).values():
                if isinstance(value, Tensor) and value.shape == weight.shape:
                    value.masked_fill_(~self.masks[name], 0)


class Set(DynamicSparse):
    """Sparse evolutionary training: drop small weights, grow at random (mocanu2018scalable).

    Drop fraction, period and zero start of new weights as in the implementation of evci2020rigging, which SET
    is compared in; the original drops a constant 30 % each epoch. Random growth finds good places slowly in
    wide layers.

    Examples
    --------
    >>> rule = Set(torch.nn.Linear(8, 8), 0.75, steps=100)
    >>> int(rule.masks["weight"].sum()), int(rule.move("weight", 0.5).sum())
    (16, 16)
    """

    def growth(self, name: str) -> Tensor:
        return self.draw(name)


class RigL(DynamicSparse):
    """Rigging the lottery: drop small weights, grow where the gradient is largest (evci2020rigging).

    Growth score = `|∂L/∂w|` at the masked weights, which is dense; weights dropped in the same update may
    grow back, as in the reference implementation. On a step that moves weights none is trained, biases
    included: the gradients are taken away from the optimizer (Algorithm 1). One mini-batch decides: small
    batches make growth noisy.

    Examples
    --------
    >>> layer = torch.nn.Linear(4, 1, bias=False); rule = RigL(layer, 0.5, steps=100)
    >>> layer.weight.grad = torch.tensor([[9.0, 9.0, 0.1, 0.1]]); rule.masks = {"weight": layer.weight < -9}
    >>> rule.masks["weight"][0, 2:] = True; rule.move("weight", 0.5).sum()
    tensor(2)
    """

    def dense_gradients(self, step: int) -> bool:
        return self.due(step)

    def moved(self, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad(set_to_none=True)

    def growth(self, name: str) -> Tensor:
        grad = self.weights[name].grad
        return torch.zeros_like(self.weights[name]) if grad is None else grad.abs()


class SRigL(RigL):
    """Structured RigL: every neuron has the same number of inputs, or none at all (lasby2024dynamic).

    What RigL would keep and grow is salient. A neuron with fewer salient weights than 30 % of the layer's
    mean number of inputs is left out whole, but in the last layer; the others share the layer's count evenly:
    each keeps its salient old weights, largest first, and grows where the gradient is largest. Evenly means
    up to one weight, so that the sparsity is exact; 30 % as in the reference implementation (95 % for
    transformers). Fails where inputs differ in worth: a neuron that needs many gets no more than the others.

    Examples
    --------
    >>> _ = torch.manual_seed(0); net = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Linear(4, 2))
    >>> rule = SRigL(net, 0.5, steps=100)
    >>> rule.masks["0.weight"].sum(1), rule.move("0.weight", 0.5).sum(1)
    (tensor([3, 3, 3, 4]), tensor([3, 3, 3, 4]))
    """

    SALIENT = 0.3

    def start(self) -> None:
        super().start()
        self.masks = {name: keep_in_rows(self.draw(name), int((~m).sum())) for name, m in self.masks.items()}

    def move(self, name: str, share: float) -> Tensor:
        weight, mask, salient = self.weights[name], self.masks[name], super().move(name, share)
        total, width = int(mask.sum()), weight[0].numel()
        counts = salient.flatten(1).sum(1)
        # Room for all weights
        needed = counts.sort(descending=True).values[max(math.ceil(total / width), 1) - 1]
        least = min(max(1, int(self.SALIENT * total / len(weight))), int(needed))
        alive = counts >= (0 if name == list(self.weights)[-1] else least)
        growth = self.growth(name).double()
        score = growth.where(~(salient & mask), weight.abs().double() + growth.max() + 1)
        moved = torch.zeros_like(mask)
        moved[alive] = keep_in_rows(score[alive], int(alive.sum()) * width - total)
        return moved
