"""Which groups make a cut model differ from the masked one: all of them, found in one run of each (case B92).

The masked model goes first, and what every operation returned is kept, without the removed channels. The cut model
must return the same. Where it does not, or raises, the operation is noted with the groups whose channels it saw, and
the model goes on with what the masked one had: so every operation is judged with the right inputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from survey_lib.chain.coupling.groups import Coupling
from survey_lib.chain.coupling.labels import UNTIED
from survey_lib.chain.coupling.readings import LabelledRun
from survey_lib.chain.inputs import leaves, reason
from survey_lib.chain.surgery.masked_norms import OverKept, narrow

DIFFERS = "the cut model computes something else than the masked one"
FAILS = "the cut model fails: {}"
TOLERANCE = 1e-9  # relative; in float32 and 1e-5 a quarter of the wrong cuts would pass
SMALL = 1e-3  # of values of about one


@dataclass(frozen=True)
class Step:
    """What an operation of the masked model returned, over kept positions.

    out: a tensor or several; None for one whose labels do not say what the cut model returns.
    numbers: what it was called with beside tensors. groups: those it saw.
    """

    name: str
    numbers: list
    out: list[Tensor | None]
    several: bool
    groups: frozenset[str]


# A step that differs; whether its numbers were the same, so that it differs for its groups; what is wrong
Blamed = tuple[Step, bool, str]


class MaskedSteps(OverKept):
    """A run of the masked model that keeps its steps."""

    def __init__(self, model: nn.Module, coupling: Coupling, keep: Mapping[str, Tensor]):
        super().__init__(model, coupling, keep)
        self.member, self.names = coupling.member[:, 0], [group.name for group in coupling.groups]
        self.steps: list[Step] = []

    def _follow(self, rule, call, args, kwargs) -> None:
        operands, results = list(leaves([args, kwargs])), list(leaves(call.out))
        labelled = any(map(self.labels.axes, operands))
        seen = self._groups(operands)
        super()._follow(rule, call, args, kwargs)
        known = [bool(operands) and (not labelled or x in self.labels.known) for x in results]
        kept = [self._kept(x) if sure else None for x, sure in zip(results, known, strict=True)]
        several = isinstance(call.out, (list, tuple))
        groups = seen | self._groups(results)
        self.steps.append(Step(call.name, _numbers(args, kwargs), kept, several, groups))

    def _groups(self, tensors: list[Tensor]) -> frozenset[str]:
        found = [np.unique(self.member[v[v > 0]]) for x in tensors for v in self.labels.axes(x).values()]
        return frozenset(self.names[n] for one in found for n in one.tolist() if n >= 0)

    def _kept(self, x: Tensor) -> Tensor | None:
        if any((vector == UNTIED).any() for vector in self.labels.axes(x).values()):
            return None
        dims = self._partial(x, range(x.dim()))
        return narrow(x, dims) if dims else x.clone()


class CutSteps(LabelledRun):
    """A run of the cut model against these steps; `blamed` are the operations that differ."""

    def __init__(self, model: nn.Module, steps: list[Step]):
        super().__init__(model)
        self.rest, self.step = iter(steps), None
        self.blamed: list[Blamed] = []

    def _watch(self) -> None:
        """Nothing here asks for the module under way."""

    def execute(self, func, args, kwargs, arguments):
        """Run an operation; where it differs from the step of the masked model, that one's results count."""
        step, error = next(self.rest), None
        if step.name != str(func.overloadpacket).removeprefix("aten."):
            raise LookupError("the cut model runs other operations than the masked one")
        self.step = step
        try:
            out = func(*args, **kwargs)
        except Exception as raised:  # whatever a wrong width makes an operation raise
            if func._schema.is_mutable or any(x is None for x in step.out):
                raise
            out, error = None, raised
        found = list(leaves(out))
        if error is None and all(map(_equal, step.out, found)):
            return out
        why = FAILS.format(reason(error)) if error else DIFFERS
        self.blamed.append((step, step.numbers == _numbers(args, kwargs), why))
        if func._schema.is_mutable:
            return out.copy_(step.out[0])
        instead = [b if a is None else a for a, b in zip(step.out, found or step.out, strict=True)]
        return instead if step.several else instead[0]

    def _follow(self, rule, call, args, kwargs) -> None:
        """The masked model has the labels."""


def _numbers(*arguments) -> list:
    return [one for one in pytree.tree_leaves(arguments) if not isinstance(one, Tensor)]


def _equal(expected: Tensor | None, found: Tensor) -> bool:
    if expected is None or expected.shape != found.shape or not expected.numel():
        return expected is None or expected.shape == found.shape
    return error(expected, found, SMALL) <= TOLERANCE


def error(expected: Tensor, found: Tensor, least: float = 1e-30) -> float:
    """Largest difference, `max |a − b| / max |a|`; infinite where something is not finite.

    Parameters
    ----------
    expected : Tensor
        An output of the masked model.
    found : Tensor
        The same of the cut model.
    least : float, default 1e-30
        The difference is not taken relative to less than this.
    """
    if not (torch.isfinite(expected).all() and torch.isfinite(found).all()):
        return float("inf")
    expected, found = expected.double(), found.double()
    return float((expected - found).abs().max() / expected.abs().max().clamp(min=least))
