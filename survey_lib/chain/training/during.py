"""Training-time methods, in anyone's training loop: what happens around each `optimizer.step()`.

A `Session` acts only through the optimizer's own pre-step and post-step hooks and takes them away when it
finishes: no model hook, no parametrisation, no change to the loop. Pruned weights are plain zeros, so their
gradients stay dense: growth criteria read them from `param.grad`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from survey_lib.chain.masks import Masks, apply, clear, prunable

BORROWED = {"model", "weights", "coupling"}  # what a rule does not own
END = 0.75  # share of the steps after which masks rest and the weights settle (evci2020rigging)


class Rule:
    """What a training-time method does: `masks` hold before the first step and after every step."""

    masks: Masks
    weights: dict[str, nn.Parameter]

    def __init__(self, model: nn.Module, sparsity: float, steps: int, *, seed: int = 0, example=None):
        self.model, self.sparsity, self.steps, self.seed = model, sparsity, steps, seed
        self.find(example)
        self.start()

    def find(self, example) -> None:
        """Look up in `self.model` what the rule acts on.

        Parameters
        ----------
        example : tensor, tuple or dict
            An input to trace; None where the caller gave none.
        """

    def start(self) -> None:
        """Get ready for the first step."""

    def before(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        """Before optimizer step `step` (counted from 0), with fresh gradients.

        Parameters
        ----------
        step : int
            Counted from 0.
        optimizer : torch.optim.Optimizer
            The optimizer that trains the model.
        """

    def after(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        """After the optimizer changed the weights; masked weights are zero when it returns.

        Parameters
        ----------
        step : int
            Counted from 0.
        optimizer : torch.optim.Optimizer
            The optimizer that trains the model.
        """

    def dense_gradients(self, step: int) -> bool:
        """Whether this optimizer step reads the gradients of pruned weights too.

        They then cost dense MACs.
        """
        return False

    def finish(self) -> None:
        """Settle on the final masks, which have the asked sparsity however many steps there were."""


class Session:
    """A rule at work on a model, made by `survey_lib.during`."""

    def __init__(self, model: nn.Module, rule: Rule, optimizer: torch.optim.Optimizer):
        self.model, self.rule, self.step = model, rule, 0
        if not (rule.coupling.groups if hasattr(rule, "coupling") else rule.weights):
            raise ValueError("this method finds nothing to prune in the model; print(model) shows its layers")
        apply(model, rule.masks)
        self._handles = [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        ]

    @property
    def masks(self) -> Masks:
        """The current masks."""
        return self.rule.masks

    @property
    def dense_gradients(self) -> bool:
        """Whether the step that comes next reads the gradients of pruned weights too."""
        return self.rule.dense_gradients(self.step)

    @torch.no_grad()
    def _before(self, optimizer: torch.optim.Optimizer, *_) -> None:
        if _overflown(optimizer):
            return
        _unscale(optimizer)
        for name, mask in self.masks.items():
            gradient = self.rule.weights[name].grad
            if gradient is not None:
                gradient.masked_fill_(~mask & ~gradient.isfinite(), 0)  # momentum would keep a NaN for ever
        self.rule.before(self.step, optimizer)

    @torch.no_grad()
    def _after(self, optimizer: torch.optim.Optimizer, *_) -> None:
        if not _overflown(optimizer):
            self.rule.after(self.step, optimizer)
            self.step += 1

    def state_dict(self) -> dict:
        """All that the session needs to go on, the weights it acts on included; `torch.save` takes it.

        Save it beside the states of model and optimizer. Loaded into a session of `during` with the same
        arguments, before or after those two, training goes on bit for bit as if it had not stopped (case
        B77).

        Examples
        --------
        >>> layer = nn.Linear(4, 4); optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        >>> from survey_lib import during
        >>> session = during(layer, "gradual", 0.5, optimizer, steps=9); sorted(session.state_dict())
        ['identity', 'rule', 'step', 'weights']
        """
        own = {name: value for name, value in vars(self.rule).items() if name not in BORROWED}
        rule, weights = (pytree.tree_map(_saved, one) for one in (own, dict(self.rule.weights)))
        return {"identity": self._identity(), "step": self.step, "weights": weights, "rule": rule}

    def _identity(self) -> dict[str, object]:
        """What must agree between a session and a state of it."""
        rule = self.rule
        shapes = {name: tuple(weight.shape) for name, weight in rule.weights.items()}
        same = {"method": type(rule).__name__, "weights": shapes}
        return same | {"sparsity": rule.sparsity, "steps": rule.steps, "seed": rule.seed}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping) -> None:
        """Go on where `state_dict` was taken.

        Raises
        ------
        ValueError
            For a session of another method, model or length.
        """
        there, here = state["identity"], self._identity()
        differ = [f"{n} {there[n]} there, {here[n]} here" for n in here if there[n] != here[n]]
        if differ:
            raise ValueError(f"the state is of another session: {differ[0]}; give the same arguments")
        for name, weight in state["weights"].items():
            self.rule.weights[name].copy_(weight)
        for name, value in state["rule"].items():
            setattr(self.rule, name, _loaded(getattr(self.rule, name, None), value))
        self.step = state["step"]

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


def check_free(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """ValueError where a session that is not finished acts on this model through this optimizer.

    Parameters
    ----------
    model : nn.Module
        The network in training.
    optimizer : torch.optim.Optimizer
        The optimizer that trains it.
    """
    sessions = [getattr(hook, "__self__", None) for hook in optimizer._optimizer_step_post_hooks.values()]
    if any(isinstance(one, Session) and one.model is model for one in sessions):
        raise ValueError("the model's session is not finished; call its finish(), or build a new optimizer")


def _overflown(optimizer: torch.optim.Optimizer) -> bool:
    """A GradScaler found infinite gradients; a fused optimizer then steps without changing anything (case B76)."""
    found = getattr(optimizer, "found_inf", None)
    return found is not None and bool(found)


def _unscale(optimizer: torch.optim.Optimizer) -> None:
    """Divide the gradients by the GradScaler's scale now, where a fused optimizer would have done so in its step."""
    scale = getattr(optimizer, "grad_scale", None)
    if scale is not None:
        gradients = [parameter.grad for group in optimizer.param_groups for parameter in group["params"]]
        for gradient in filter(torch.is_tensor, gradients):
            gradient.div_(scale.to(gradient.device))
        optimizer.grad_scale = None


def _saved(one):
    """A copy of one value of a rule's state as tensors and numbers."""
    if isinstance(one, torch.Generator):
        return one.get_state()
    if isinstance(one, torch.optim.Optimizer):
        return pytree.tree_map(_saved, one.state_dict())
    return one.detach().clone() if isinstance(one, Tensor) else one


def _loaded(now, saved):
    """The opposite of `_saved`; generators, optimizers and what these optimizers train stay the same objects."""
    if isinstance(now, torch.Generator):
        now.set_state(saved)
    elif isinstance(now, torch.optim.Optimizer):
        now.load_state_dict(saved)
    elif isinstance(now, Tensor) and now.requires_grad:
        now.copy_(saved)
    elif isinstance(saved, dict):
        return {name: _loaded((now or {}).get(name), one) for name, one in saved.items()}
    elif isinstance(saved, Tensor):
        return saved.to(saved.device if now is None else now.device, copy=True)
    else:
        return saved
    return now


class MaskedTraining(Rule):
    """A rule that holds its masks; subclasses say in `choose` which ones after `done` of `steps` steps."""

    def find(self, example) -> None:
        self.weights = prunable(self.model)
        self.masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in self.weights.items()}

    def choose(self, done: int) -> Masks:
        """The masks after `done` steps; those after `steps` steps have the asked sparsity."""
        return self.masks

    def after(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        self.masks = self.choose(step + 1)
        for name, mask in self.masks.items():
            clear(self.weights[name], mask)

    def finish(self) -> None:
        self.masks = self.choose(self.steps)


class DenseShadow(MaskedTraining):
    """A rule that keeps the dense weights beside the masked ones, so that a pruned weight can come back.

    Forward and backward see the masked weights; the optimizer steps on the dense ones with the gradient at
    the masked ones (straight-through). Subclasses may change that gradient in `adjust`.
    """

    def find(self, example) -> None:
        super().find(example)
        self.dense: dict[str, Tensor] = {name: w.detach().clone() for name, w in self.weights.items()}

    def adjust(self, name: str, weight: nn.Parameter) -> None:
        """Change `weight.grad`, with the dense value in `weight`.

        Parameters
        ----------
        name : str
            Name of the weight.
        weight : nn.Parameter
            Holds the dense value and the gradient.
        """

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
