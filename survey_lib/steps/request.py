"""What was asked of `prune`, and the report of what it did by layer."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from survey_lib.catalogue import Method
from survey_lib.chain.coupling import Coupling
from survey_lib.chain.masks import Masks
from survey_lib.steps.budget import Budget

UNSEEN = "no operation of the run on the example uses it"


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
