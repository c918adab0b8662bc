"""What a stage of a run costs: wall and CPU seconds, and the multiply-adds (MACs) of its training."""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from survey_lib.chain.masks import prunable
from survey_lib.chain.training.during import Session
from survey_lib.measure import measure

PASSES = 3  # forward, gradients of the activations, gradients of the weights


def stopwatch() -> Callable[[], dict[str, float]]:
    """Start a watch; a call reads it: wall seconds, and CPU seconds of this process, since the start.

    Examples
    --------
    >>> read = stopwatch()
    >>> sorted(read())
    ['cpu_seconds', 'seconds']
    """
    wall, cpu = time.perf_counter(), time.process_time()
    return lambda: {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}


class Meter:
    """Theoretical MACs of training while masks change: zeros cost nothing, as no hardware has it yet.

    A step costs 3 f_s an example, with f_s the MACs of the weights that are kept at that step; 2 f_s + f_d
    where the method reads the gradients of pruned weights too, with f_d the dense MACs (Evci et al. 2020,
    appendix). Start it before the session, so that it sees the masks that a step was computed with.
    """

    def __init__(self, model: nn.Module, example: Tensor, optimizer: torch.optim.Optimizer):
        self.session: Session | None = None
        self.dense, self.total, self.steps, self._seen = measure(model, example)["macs"], 0.0, 0, None
        self._macs = {}
        for name, weight in prunable(model).items():
            none = {name: torch.zeros_like(weight, dtype=torch.bool)}
            self._macs[name] = self.dense - measure(model, example, none)["nonzero_macs"]
        optimizer.register_step_pre_hook(lambda *_: self._step())

    @property
    def average(self) -> float:
        """MACs an example and step."""
        return self.total / max(self.steps, 1)

    def _step(self) -> None:
        masks = self.session.masks
        if masks is not self._seen:
            gone = {name: 1 - float(mask.float().mean()) for name, mask in masks.items()}
            spared = sum(self._macs.get(name, 0) * share for name, share in gone.items())
            self._seen, self._sparse = masks, self.dense - spared
        dense = self.dense if self.session.dense_gradients else self._sparse
        self.total += 2 * self._sparse + dense
        self.steps += 1
