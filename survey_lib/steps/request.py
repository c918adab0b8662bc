"""What was asked of `prune`, a sparsity or a budget among it, and the report of what it did by layer."""

from __future__ import annotations

import difflib
import fnmatch
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real

import pandas as pd
from torch import Tensor, nn

from survey_lib.catalogue import Method
from survey_lib.chain.checks import described
from survey_lib.chain.coupling import Coupling
from survey_lib.chain.masks import Masks, masked_copy, tensors
from survey_lib.measure import measure
from survey_lib.measure.observe import effective

NOT_ASKED = "not among the layers asked for, or protected"
UNSEEN = "no operation of the run on the example uses it"
EMPTY = 1 - 1e-9  # a sparsity at which every layer is down to its minimum
PREDICTED, MADE = 20, 10  # steps of bisection: where the cost is predicted, where a model is run for it


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

    def of(self, model: nn.Module, example) -> Budget:
        """The budget for this dense model.

        Parameters
        ----------
        model : nn.Module
            The dense network.
        example : tensor, tuple or dict
            An input of its forward.
        """
        return self if self.cost else replace(self, dense=self.spent(model, example))

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
        """
        if self.cost:
            return self.own(masked_copy(model, masks) if masks else model)
        if self.kind == "macs":
            counted = measure(model, example, masks, samples=1)
            return counted["macs" if masks is None else "nonzero_macs"] / self.dense
        used = effective(model, masks).values()
        kept = sum(tensor.numel() if masks is None else int(tensor.ne(0).count_nonzero()) for tensor in used)
        return kept / self.dense

    def own(self, model: nn.Module) -> float:
        """The caller's own cost of a model; ValueError where it is no finite number."""
        value = self.cost(model)
        number = isinstance(value, Real) or (isinstance(value, Tensor) and value.numel() == 1)
        if not number or not math.isfinite(value):
            raise ValueError(f"cost(model) must be a finite number; got {described(value)}")
        return float(value)

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
            raise BudgetNotMet(
                f"{self.kind} of at most {self.limit:.4g} cannot be met: the smallest result costs {least:.4g}; "
                "ask for at least that, or see what is protected or left whole"
            )
        low, high = 0.0, 1.0
        for _ in range(steps):
            middle = (low + high) / 2
            low, high = (low, middle) if cost(middle) <= self.limit else (middle, high)
        return low, min(high, EMPTY)


def budget_of(
    sparsity: float | None,
    macs: float | None,
    parameters: float | None,
    cost: Callable[[nn.Module], float] | None,
    at_most: float | None,
) -> Budget | None:
    """The budget among the wishes of `prune`, or None where a sparsity was given.

    Parameters
    ----------
    sparsity : float | None
        Fraction to remove; then there is no budget.
    macs : float | None
        Share of the dense multiply-adds that may stay.
    parameters : float | None
        Share of the dense parameters that may stay.
    cost : Callable[[nn.Module], float] | None
        A cost of the caller's own.
    at_most : float | None
        The limit of `cost`.

    Raises
    ------
    ValueError
        Unless exactly one wish is given, and in its range.
    """
    wishes = {"sparsity": sparsity, "macs": macs, "parameters": parameters, "cost": cost}
    given = [name for name, value in wishes.items() if value is not None]
    if len(given) != 1:
        raise ValueError(
            f"give exactly one of sparsity=, macs=, parameters=, or cost= with at_most=; got {', '.join(given) or 'none'}"
        )
    if (cost is None) != (at_most is None):
        raise ValueError("cost=callable and at_most=value belong together; give both or neither")
    if cost is not None:
        if not callable(cost) or not isinstance(at_most, Real) or not math.isfinite(at_most):
            raise ValueError(f"cost must be a function, at_most a finite number; got {cost!r}, {at_most!r}")
        return Budget("cost", float(at_most), cost)
    if sparsity is not None:
        return None
    kind, share = given[0], wishes[given[0]]
    if not isinstance(share, Real) or share is True or not 0 < share <= 1:
        raise ValueError(f"{kind} is the share of the dense {kind} that may stay, in (0, 1]; got {share!r}")
    return Budget(kind, float(share))


@dataclass(frozen=True)
class Request:
    """The caller's wishes, checked, as the steps read them: a sparsity or a budget, the other is None."""

    method: Method
    sparsity: float | None
    budget: Budget | None
    example: object
    batches: Iterable | None
    loss: Callable | None
    scope: str
    layers: Sequence[str] | None
    protect: Sequence[str]
    cut: bool
    masks: Masks
    coupling: Coupling | None
    seed: int
    more: tuple = ()  # further examples


def listed(names: Sequence[str] | None, model: nn.Module, blocks: bool) -> list[str] | None:
    """`layers` or `protect` as a list of which every name matches something, before any work.

    Parameters
    ----------
    names : Sequence[str] | None
        What the caller gave.
    model : nn.Module
        The network.
    blocks : bool
        Any module may be named; else what has a matrix.

    Raises
    ------
    ValueError
        For what is no list of names, and for names that match nothing.
    """
    if names is None:
        return None
    if isinstance(names, Mapping | nn.Module) or not hasattr(names, "__iter__"):
        raise ValueError(f"layers and protect take a list of names or patterns; got {described(names)}")
    names = [names] if isinstance(names, str) else list(names)
    weights = [name for name, tensor in tensors(model).items() if tensor.dim() >= 2]
    known = [n.rpartition(".")[0] or n for n in weights] + [n.removesuffix(".weight") for n in weights]
    known = [name for name, _ in model.named_modules() if name] if blocks else known
    choose(list(dict.fromkeys(known)), names)
    return names


def choose(names: Sequence[str], patterns: Sequence[str] | None) -> list[str]:
    """The names that match any of the patterns, in their order.

    Parameters
    ----------
    names : Sequence[str]
        All names there are.
    patterns : Sequence[str] | None
        names, prefixes or shell patterns; all names if None.

    Raises
    ------
    ValueError
        For a pattern that matches no name; the text has near matches (B40).
    """
    if patterns is None:
        return list(names)
    found: set[str] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        if not isinstance(pattern, str):
            near = repr(names[0]) if names else "'conv1'"
            raise ValueError(f"layers and protect take names, such as {near}; got {described(pattern)}")
        bare = pattern.removeprefix("module.").removeprefix("_orig_mod.")
        hits = fnmatch.filter(names, bare) + [n for n in names if n.startswith(bare + ".")]
        if not hits:
            near = difflib.get_close_matches(bare, names, 5, 0.4) or list(names)[:8]
            raise ValueError(f"{pattern!r} matches no prunable layer; near: {', '.join(near)}")
        found |= set(hits)
    return [name for name in names if name in found]


def report_of(rows: list[tuple[str, int, int, str]], request: Request, sparsity: float) -> pd.DataFrame:
    """The report of `prune`, one row a layer.

    Parameters
    ----------
    rows : list[tuple[str, int, int, str]]
        One (layer, total, kept, group) a row.
    request : Request
        What was asked.
    sparsity : float
        The realised one, which stands for the requested one where a budget was given.
    """
    report = pd.DataFrame(rows, columns=["layer", "total", "kept", "group"])
    report.insert(1, "unit", request.method.unit)
    return report.assign(
        requested=sparsity if request.sparsity is None else request.sparsity,
        sparsity=1 - report["kept"] / report["total"],
    )
