"""Structured methods that live in training: one small rule a method, run by `chain.training.during`.

A rule sees the channel groups of the model, so it needs an example input to trace. While training goes on
nothing is masked for good; `finish` ranks the groups by the method's score and masks what a cut will remove.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from survey_lib.chain import channels
from survey_lib.chain.channels import producer_slices, side_by_side, weight_slices
from survey_lib.chain.coupling import ChannelGroup, Slice, group_masks, trace
from survey_lib.chain.masks import Masks
from survey_lib.chain.selection import select
from survey_lib.chain.training.during import Rule
from survey_lib.methods.channel.scores import group_norm, slimming
from survey_lib.methods.filter.scores import l1_filter, l2_filter


class Grouped(Rule):
    """A rule over channel groups; subclasses say how to score them and what happens around a step."""

    score, needs, scope = staticmethod(l2_filter), (), "layerwise"

    def find(self, example) -> None:
        if example is None:
            raise ValueError("this method must trace which channels go together: give example=an input")
        self.coupling = trace(self.model, example)
        self.weights = dict(self.model.named_parameters(remove_duplicate=False))
        self.masks: Masks = {}

    def choose(self) -> Masks:
        """Keep-masks of the groups, by today's scores."""
        found = channels.collect(self.model, self.coupling, self.needs, seed=self.seed)
        scores = channels.score_groups(self.score, found)
        return self.coupling.balance(select(scores, self.sparsity, self.scope, minimum=1), scores)

    def dense_gradients(self, step: int) -> bool:
        return True  # nothing is masked before the end

    def finish(self) -> None:
        """Mask what a cut will remove."""
        self.masks = group_masks(self.model, self.coupling, self.choose())

    def filters(self, group: ChannelGroup) -> Iterator[tuple[nn.Parameter, Slice]]:
        """The weights whose output rows the group holds."""
        for producer in group.producers:
            for part in producer_slices(group, producer):
                if part.tensor in self.weights and self.weights[part.tensor].dim() > 1:
                    yield self.weights[part.tensor], part


@torch.no_grad()
def pull(weight: nn.Parameter, part: Slice, strength: Tensor) -> None:
    """Add strength_c · w_c to the gradient of each channel's slice.

    Parameters
    ----------
    weight : nn.Parameter
        A parameter with a gradient.
    part : Slice
        The positions of each channel in it.
    strength : Tensor
        Factor of each channel, (size,).
    """
    if weight.grad is not None:
        index = torch.as_tensor(part.index, device=weight.device)
        rows, gradient = weight.movedim(part.dim, 0)[index], weight.grad.movedim(part.dim, 0)
        gradient[index] += strength.to(weight).view(-1, *[1] * (rows.dim() - 1)) * rows


class SoftFilters(Grouped):
    """Soft filter pruning: filters of small L2 norm are set to zero, and may grow back (he2018soft).

    The paper does so after every epoch; a session knows only its steps, so it is done once before the first
    step, as in the authors' code, and 20 times after, evenly, the last time at the end. Only the filters are
    zeroed: with their batch norm or readers zeroed too, no gradient would come back. Layerwise. Momentum
    survives the zeroing, as in the reference implementation. Fails where nothing grows back, at low learning
    rates and behind a ReLU whose batch norm shifts a zeroed filter below 0.
    """

    TIMES = 20

    def start(self) -> None:
        self.zero()

    def after(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        if (step + 1) % max(1, self.steps // self.TIMES) == 0:
            self.zero()

    @torch.no_grad()
    def zero(self) -> None:
        """Set the filters of small norm to zero."""
        for name, keep in self.choose().items():
            for weight, part in self.filters(self.coupling[name]):
                rows = torch.as_tensor(part.index)[~keep.cpu()].flatten()
                weight.index_fill_(part.dim, rows.to(weight.device), 0)


class Slimming(Grouped):
    """Network slimming: train with L1 on batch-norm scales, then remove the small ones (liu2017learning).

    The subgradient λ·sign(γ) is added to γ's gradient before each step, λ = 1e-4 as in the reference
    implementation. In a network that was not trained yet, all γ of which are 1, they start at 0.5, as there.
    Ranked globally by `|γ|`. Fails in a short training at a low learning rate: the penalty moves γ by
    λ·lr·steps at most (ten times that with momentum 0.9).
    """

    score, needs, scope = staticmethod(slimming), ("gamma",), "global"
    PENALTY, START = 1e-4, 0.5

    def start(self) -> None:
        scales = [m.weight for m in self.model.modules() if isinstance(m, _BatchNorm) and m.affine]
        if all((scale == 1).all() for scale in scales):
            for scale in scales:
                nn.init.constant_(scale, self.START)

    def before(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        for layer in self.model.modules():
            if isinstance(layer, _BatchNorm) and layer.affine and layer.weight.grad is not None:
                layer.weight.grad.add_(layer.weight.sign(), alpha=self.PENALTY)


class GroupLasso(Grouped):
    """Train with a penalty on the norm of each coupled channel, then remove the small ones (wen2016learning).

    Structured sparsity learning, a group lasso. λ Σ_c ‖w_c‖₂ is added to the loss, w_c all slices of
    channel c; its gradient λ w_c / ‖w_c‖ shrinks small channels as fast as large ones. λ = 1e-3. The paper
    penalises filters and input channels apart; here they are one group because they are cut together.
    Ranked by group norm, globally. Fails with batch norm: scales can shrink without the function changing.
    """

    score, needs, scope = staticmethod(group_norm), ("energy",), "global"
    PENALTY = 1e-3

    def before(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        for group in self.coupling.groups:
            strength = self.strength(side_by_side(group, self.weights).norm(dim=1))
            for part in weight_slices(group, self.weights):
                pull(self.weights[part.tensor], part, strength)

    def strength(self, norm: Tensor) -> Tensor:
        """How hard each channel of a group is pulled towards zero, from the norms of all."""
        return self.PENALTY / norm.clamp_min(1e-12)


class GroupSparsity(GroupLasso):
    """Train with a penalty that is stronger on small coupled channels, then remove them (fang2023depgraph).

    DepGraph's sparse training. An L2 penalty λ γ_c w is added to the gradient of every slice w of channel
    c, γ_c = 2^(4 (I_max − I_c) / (I_max − I_min)) with I_c the channel's norm: the smallest channel of a
    group is pulled 16 times as hard as the largest. λ = 5e-4 as in the authors' CIFAR runs, which start
    from a trained network; `group-norm` is the same ranking without this training. Fails at small
    lr·λ·steps: then no channel has moved before the cut.
    """

    PENALTY, SPREAD = 5e-4, 4.0

    def strength(self, norm: Tensor) -> Tensor:
        span = (norm.max() - norm.min()).clamp_min(1e-12)
        return self.PENALTY * 2 ** (self.SPREAD * (norm.max() - norm) / span)


class GrowingRegularisation(Grouped):
    """GReg-1: an L2 penalty that grows on the filters L1 would remove, until they are gone (wang2021neural).

    For a trained network: the filters are chosen once, at the start, and norms of untrained filters say
    nothing; runs start from the dense network, at the learning rate of fine-tuning. λ grows by equal steps
    every 10 optimizer steps to 1, the paper's ceiling, at three quarters of the steps; λ·w is added to the
    gradient of the chosen filters. The paper's own increment, 1e-4 every 5 or 10 steps, would need 50,000 or
    more. Fails at lr·λ above 2, where the penalty overshoots.

    Examples
    --------
    >>> [round(growing(step, 100), 3) for step in (0, 10, 19, 40, 75, 99)]
    [0.0, 0.133, 0.133, 0.533, 0.933, 1.0]
    """

    score = staticmethod(l1_filter)

    def start(self) -> None:
        self.keep = super().choose()

    def choose(self) -> Masks:
        return self.keep

    def before(self, step: int, optimizer: torch.optim.Optimizer) -> None:
        penalty = growing(step, self.steps)
        for name, keep in self.keep.items():
            for weight, part in self.filters(self.coupling[name]):
                pull(weight, part, penalty * ~keep)


def growing(step: int, steps: int) -> float:
    """λ of growing regularisation: equal increments every 10 steps, 1 from ¾ of the steps on.

    Parameters
    ----------
    step : int
        Counted from 0.
    steps : int
        Steps of the training.
    """
    return min(1.0, step // 10 * 10 / (0.75 * steps))
