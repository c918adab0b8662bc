"""What was asked of `prune`, checked, as the steps read it; what they make of it; and a budget in place of a sparsity."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from numbers import Real

from torch import Tensor, nn

from survey_lib.catalogue import Method
from survey_lib.chain.coupling import Coupling
from survey_lib.chain.inputs import described
from survey_lib.chain.masks import Masks, masked_copy
from survey_lib.measure import measure
from survey_lib.measure.counts import effective

NOT_ASKED = "not among the layers asked for, or protected"
UNSEEN = "no operation of the run on the example uses it"
EMPTY = 1 - 1e-9  # a sparsity at which every layer is down to its minimum
PREDICTED, MADE = 20, 10  # steps of bisection: where the cost is predicted, where a model is run for it


@dataclass(frozen=True)
class Request:
    """The caller's wishes, checked, as the steps read them: a sparsity or a budget, the other is None."""

    method: Method
    sparsity: float | None
    scope: str
    budget: Budget | None = None
    example: object = None
    more: Sequence = ()  # examples
    batches: list | None = None
    loss: Callable | None = None
    layers: Sequence[str] | None = None
    protect: Sequence[str] = ()
    cut: bool = True
    masks: Masks = field(default_factory=dict)
    coupling: Coupling | None = None
    seed: int = 0


@dataclass(frozen=True)
class Pruned:
    """What a step made of the dense network.

    Attributes
    ----------
    model : nn.Module
        The network after.
    masks : Masks
        Masks of the dense network.
    rows : list[tuple[str, int, int, str]]
        One (layer, total, kept, group) a row of the report.
    sparsity : float
        The realised one.
    skipped : list[tuple[str, str]]
        Pairs (layer, reason).
    plan : dict | None
        What was cut; None where it is masked.
    macs : float
        Share of the MACs that is left.
    over_kept : tuple[str, ...]
        Modules whose statistics run over the kept channels.
    """

    model: nn.Module
    masks: Masks
    rows: list[tuple[str, int, int, str]]
    sparsity: float
    skipped: list[tuple[str, str]]
    plan: dict | None = None
    macs: float = 1.0
    over_kept: tuple[str, ...] = ()


class BudgetNotMet(ValueError):
    """Even the smallest network that the method can make costs more than the budget."""


@dataclass(frozen=True)
class Budget:
    """A share of the dense MACs or parameters that may stay, or a limit of the caller's own cost.

    Attributes
    ----------
    kind : str
        macs, parameters or cost.
    limit : float
        The share, or the value of `cost` that is allowed.
    cost : Callable[[nn.Module], float] | None
        The caller's own cost of a model.
    dense : float
        What the dense network costs.
    """

    kind: str
    limit: float
    cost: Callable[[nn.Module], float] | None = None
    dense: float = 1.0

    @classmethod
    def of(cls, kind: str, wish, at_most: float | None) -> Budget:
        """The budget that a caller of `prune` wishes for.

        Parameters
        ----------
        kind : str
            macs, parameters or cost.
        wish : float or Callable
            The share that may stay, or the caller's own cost.
        at_most : float | None
            The limit of `cost`.

        Raises
        ------
        ValueError
            For a wish outside its range.
        """
        if kind == "cost":
            if not callable(wish) or not isinstance(at_most, Real) or not math.isfinite(at_most):
                raise ValueError(f"cost is a function, at_most a finite number; got {wish!r}, {at_most!r}")
            return cls(kind, float(at_most), wish)
        if not isinstance(wish, Real) or wish is True or not 0 < wish <= 1:
            raise ValueError(f"{kind} is the share of the dense {kind} to keep, in (0, 1]; got {wish!r}")
        return cls(kind, float(wish))

    def spent(self, model: nn.Module, example, masks: Masks | None = None) -> float:
        """What a model costs in the unit of `limit`.

        Parameters
        ----------
        model : nn.Module
            A network, dense or pruned.
        example : tensor, tuple or dict
            An input of its forward.
        masks : Masks, optional
            Count only what is not zero under them.

        Returns
        -------
        float
            In MACs or parameters relative to the dense network, or in the caller's own unit.

        Raises
        ------
        ValueError
            Where the caller's own cost is no finite number.
        """
        if self.cost:
            value = self.cost(masked_copy(model, masks) if masks else model)
            number = isinstance(value, Real) or (isinstance(value, Tensor) and value.numel() == 1)
            if not number or not math.isfinite(value):
                raise ValueError(f"cost(model) must be a finite number; got {described(value)}")
            return float(value)
        if self.kind == "macs":
            counted = measure(model, example, masks, samples=1)
            return counted["macs" if masks is None else "nonzero_macs"] / self.dense
        used = effective(model, masks).values()
        kept = sum(tensor.numel() if masks is None else int(tensor.count_nonzero()) for tensor in used)
        return kept / self.dense

    def bracket(self, cost: Callable[[float], float], steps: int = PREDICTED) -> tuple[float, float]:
        """Two neighbouring sparsities: the first costs more than the limit, the second does not.

        Both are 0 where nothing must go.

        Parameters
        ----------
        cost : Callable[[float], float]
            cost(sparsity), in the unit of `limit`; it falls.
        steps : int, default PREDICTED
            Steps of bisection.

        Returns
        -------
        tuple[float, float]
            The largest sparsity known to be too mild, and the smallest one known to be enough.

        Raises
        ------
        BudgetNotMet
            If the highest sparsity costs more than the limit.

        Examples
        --------
        >>> Budget("parameters", 0.25).bracket(lambda sparsity: 1 - sparsity, steps=3)
        (0.625, 0.75)
        """
        if cost(0.0) <= self.limit:
            return 0.0, 0.0
        least = cost(EMPTY)
        if least > self.limit:
            limit = f"{self.kind} of at most {self.limit:.4g}"
            raise BudgetNotMet(f"{limit} cannot be met: the smallest result costs {least:.4g}; ask for that")
        low, high = 0.0, 1.0
        for _ in range(steps):
            middle = (low + high) / 2
            low, high = (low, middle) if cost(middle) <= self.limit else (middle, high)
        return low, min(high, EMPTY)
