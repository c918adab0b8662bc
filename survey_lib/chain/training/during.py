"""Training-time methods, in anyone's training loop: what happens around each `optimizer.step()`.

A `Session` acts only through the optimizer's own pre-step and post-step hooks and takes them away when it
finishes: no model hook, no parametrisation, no change to the loop. Pruned weights are plain zeros, so their
gradients stay dense: growth criteria read them from `param.grad`.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from survey_lib.chain.masks import Masks, apply, prunable, unwrap
from survey_lib.chain.selection import check_sparsity

END = 0.75  # share of the steps after which masks rest and the weights settle (evci2020rigging)


class Rule(Protocol):
    """What a training-time method does: `masks` hold before the first step and after every step."""

    masks: Masks

    def before(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        """Before optimizer step `step` (counted from 0), with fresh gradients."""

    def after(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        """After the optimizer changed the weights; masked weights are zero when it returns."""

    def dense_gradients(self, step: int) -> bool:
        """Whether optimizer step `step` reads the gradients of pruned weights too, which then cost dense MACs."""

    def finish(self) -> None:
        """Settle on the final masks, which have the asked sparsity however many steps there were."""


class Session:
    """A rule at work on a model; made by `start`. `masks` are the current ones."""

    def __init__(self, model: nn.Module, rule: Rule, optimizer: torch.optim.Optimizer):
        self.model, self.rule, self.step = model, rule, 0
        apply(model, rule.masks)
        self._handles = [
            optimizer.register_step_pre_hook(lambda optimizer, *_: self._before(optimizer)),
            optimizer.register_step_post_hook(lambda optimizer, *_: self._after(optimizer)),
        ]

    @property
    def masks(self) -> Masks:
        return self.rule.masks

    @property
    def dense_gradients(self) -> bool:
        """Whether the step that comes next reads the gradients of pruned weights too."""
        return self.rule.dense_gradients(self.step)

    @torch.no_grad()
    def _before(self, optimizer: torch.optim.Optimizer) -> None:
        self.rule.before(self.step, optimizer)

    @torch.no_grad()
    def _after(self, optimizer: torch.optim.Optimizer) -> None:
        self.rule.after(self.step, optimizer)
        self.step += 1

    @torch.no_grad()
    def finish(self) -> Masks:
        """End the session: hooks gone, pruned weights exactly zero; returns the final masks."""
        for handle in self._handles:
            handle.remove()
        if self._handles:
            self.rule.finish()
            apply(self.model, self.masks)
        self._handles = []
        return self.masks


def start(model: nn.Module, method, sparsity: float, optimizer: torch.optim.Optimizer, steps: int, *,
          example=None, seed: int = 0) -> Session:  # fmt: skip
    """Begin a training-time method on a model; `method` is a row of the catalogue with a `during` builder.

    `steps` optimizer steps are expected; schedules end by then. Call `finish()` after training.
    Raises ValueError for a sparsity outside [0, 1), no steps, or a method that does not live in training.
    """
    check_sparsity(sparsity)
    if method.during is None:
        raise ValueError(
            f"{method.name} does not live in training; use survey_lib.prune(model, {method.name!r}, ...)"
        )
    if steps < 1:
        raise ValueError(f"steps must be at least 1, the number of optimizer steps to come; got {steps}")
    bare = unwrap(model)
    choice = {"pattern": method.pattern} if method.pattern else {}
    rule = method.during(bare, float(sparsity), steps, seed=seed, example=example, **choice)
    return Session(bare, rule, optimizer)


class Held:
    """A rule that holds its masks; subclasses say in `choose` which ones after `done` of `steps` steps."""

    def __init__(self, model: nn.Module, sparsity: float, steps: int, *, seed: int = 0, example=None):
        self.model, self.sparsity, self.steps, self.seed = model, sparsity, steps, seed
        self.weights: dict[str, nn.Parameter] = prunable(model)
        self.masks: Masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in self.weights.items()}

    def choose(self, done: int) -> Masks:
        """The masks after `done` steps; those after `steps` steps have the asked sparsity."""
        return self.masks

    def before(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        """Nothing to do before the step."""

    def dense_gradients(self, step: int) -> bool:
        return False

    def after(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        self.masks = self.choose(step + 1)
        for name, mask in self.masks.items():
            self.weights[name].mul_(mask)

    def finish(self) -> None:
        self.masks = self.choose(self.steps)


class Shadowed(Held):
    """A rule that keeps the dense weights beside the masked ones, so that a pruned weight can come back.

    Forward and backward see the masked weights; the optimizer steps on the dense ones with the gradient at
    the masked ones (straight-through). Subclasses may change that gradient in `adjust`.
    """

    def __init__(self, model: nn.Module, sparsity: float, steps: int, *, seed: int = 0, example=None):
        super().__init__(model, sparsity, steps, seed=seed)
        self.dense: dict[str, Tensor] = {name: w.detach().clone() for name, w in self.weights.items()}

    def adjust(self, name: str, weight: nn.Parameter) -> None:
        """Change `weight.grad`, with the dense value in `weight`."""

    def dense_gradients(self, step: int) -> bool:
        return True

    def before(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        for name, weight in self.weights.items():
            weight.copy_(self.dense[name])
            if weight.grad is not None:
                self.adjust(name, weight)

    def after(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        for name, weight in self.weights.items():
            self.dense[name].copy_(weight)
        super().after(step, optimizer)

    def finish(self) -> None:
        for name, weight in self.weights.items():
            weight.copy_(self.dense[name])
        super().finish()
