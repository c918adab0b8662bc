"""Gradient descent as everything here trains: optimizer, learning-rate schedule, and the loop."""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from survey_lib import eager
from survey_lib.chain.inputs import leaves
from survey_lib.lookup import known

SGD = eager.optimizer(torch.optim.SGD)
OPTIMIZERS = {
    "sgd": partial(SGD, momentum=0.9, nesterov=True),
    "heavy-ball": partial(SGD, momentum=0.9),
    "adam": eager.optimizer(torch.optim.Adam),
    "adamw": eager.optimizer(torch.optim.AdamW),
}
WARMUP = 0.3  # share of the steps in which one-cycle rises


def lr_factor(schedule: str, progress: float) -> float:
    """Learning rate relative to its peak after a share `progress` in [0, 1] of the training.

    Parameters
    ----------
    schedule : str
        one-cycle: a cosine from 1/25 up to 1 over the first 30 %, then down to 0; cosine: from 1 to 0;
        step: 1, then 0.1 from one half and 0.01 from three quarters on; constant: 1.
    progress : float
        Share of the training that is done.

    Examples
    --------
    >>> lr_factor("step", 0.6), lr_factor("cosine", 0.5), lr_factor("one-cycle", 0.3)
    (0.1, 0.5, 1.0)
    """
    if schedule == "constant":
        return 1.0
    if schedule == "step":
        return 0.1 ** ((progress >= 0.5) + (progress >= 0.75))
    if schedule == "cosine":
        return _cosine(1.0, 0.0, progress)
    if progress < WARMUP:
        return _cosine(1 / 25, 1.0, progress / WARMUP)
    return _cosine(1.0, 0.0, (progress - WARMUP) / (1 - WARMUP))


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def make_optimizer(model: nn.Module, name: str, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """The optimizer of this name.

    Parameters
    ----------
    model : nn.Module
        The network.
    name : str
        sgd (Nesterov's momentum 0.9), heavy-ball (momentum 0.9), adam (its decay is an L2 penalty) or
        adamw.
    lr : float
        The highest learning rate.
    weight_decay : float
        Weight decay λ.

    Raises
    ------
    ValueError
        For another name.
    """
    build = OPTIMIZERS[known("optimizer", name, OPTIMIZERS)]
    return build(model.parameters(), lr=lr, weight_decay=weight_decay, fused=True)


def descend(
    model: nn.Module,
    batches: Callable[[int], Iterable[tuple]],
    optimizer: torch.optim.Optimizer,
    loss: Callable[[object, Tensor], Tensor],
    *,
    lr: float,
    schedule: str,
    epochs: int,
    steps: int,
    first_epoch: int = 0,
) -> Iterator[tuple[int, float, float]]:
    """Train `model` in place, and report after each epoch.

    Parameters
    ----------
    model : nn.Module
        The network, which is changed.
    batches : Callable[[int], Iterable[tuple]]
        batches(epoch) returns the (x, y) of an epoch, `steps` of them.
    optimizer : torch.optim.Optimizer
        The optimizer that trains the model.
    loss : Callable[[object, Tensor], Tensor]
        loss(x, y) runs the model.
    lr : float
        The highest learning rate.
    schedule : str
        Learning-rate schedule, see `lr_factor`.
    epochs : int
        Epochs of the whole training.
    steps : int
        Steps in an epoch.
    first_epoch : int, default 0
        Epoch to go on from.

    Yields
    ------
    tuple[int, float, float]
        (epochs done, last learning rate, mean loss of an example).

    Raises
    ------
    FloatingPointError
        When the loss is no longer finite.
    """
    for epoch in range(first_epoch, epochs):
        model.train()
        total, examples = 0.0, 0
        for step, (x, y) in enumerate(batches(epoch)):
            rate = lr * lr_factor(schedule, (epoch * steps + step) / (epochs * steps))
            for group in optimizer.param_groups:
                group["lr"] = rate
            value = loss(x, y)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            total += value.item() * len(y)
            examples += len(y)
            if not math.isfinite(total):
                bad = not all(bool(tensor.isfinite().all()) for tensor in leaves((x, y)))
                way = "this batch holds NaN or infinity: repair the data" if bad else "lower lr and run again"
                where = f"epoch {epoch + 1}, step {step + 1}, at learning rate {rate:.3g}"
                raise FloatingPointError(f"the loss became {value.item()} in {where}; {way}")
        if not examples:
            raise ValueError(f"epoch {epoch + 1} has no batches; pass a list or a DataLoader")
        yield epoch + 1, rate, total / examples
