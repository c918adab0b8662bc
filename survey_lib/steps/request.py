"""What was asked of `prune`, as the steps read it, and the result that they make of it."""

import difflib
import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
from torch import nn

from survey_lib.catalogue import Method
from survey_lib.chain.coupling import Coupling
from survey_lib.chain.masks import Masks
from survey_lib.steps.budget import Budget
from survey_lib.steps.result import PruneResult

NOT_ASKED = "not among the layers asked for, or protected"
UNSEEN = "no operation of the run on the example uses it"


@dataclass(frozen=True)
class Request:
    """The caller's wishes, checked, as the steps read them: a sparsity or a budget, the other is None."""

    method: Method
    sparsity: float | None
    scope: str
    budget: Budget | None = None
    examples: Sequence = ()
    batches: list | None = None
    loss: Callable | None = None
    layers: Sequence[str] | None = None
    protect: Sequence[str] | None = None
    cut: bool = True
    masks: Masks | None = None
    coupling: Coupling | None = None
    seed: int = 0

    @property
    def example(self) -> object:
        """The first example; None where there is none."""
        return self.examples[0] if self.examples else None

    def result(
        self,
        dense: nn.Module,
        pruned: nn.Module,
        masks: Masks,
        plan: dict | None,
        rows: list[tuple[str, int, int, str]],
        sparsity: float,
        skipped: list[tuple[str, str]],
        macs: float = 1.0,
        over_kept: tuple[str, ...] = (),
    ) -> PruneResult:
        """What `prune` returns, with the report and the shares that are left.

        Parameters
        ----------
        dense : nn.Module
            The network before.
        pruned : nn.Module
            The network after.
        masks : Masks
            Masks of the dense network.
        plan : dict | None
            What was cut; None where it is masked: then all MACs and bytes are left, and the parameters that
            are not zero.
        rows : list[tuple[str, int, int, str]]
            One (layer, total, kept, group) a row of the report.
        sparsity : float
            The realised one, which stands for the requested one where a budget was given.
        skipped : list[tuple[str, str]]
            Pairs (layer, reason).
        macs : float, default 1.0
            Share of the MACs that is left after a cut.
        over_kept : tuple[str, ...], default ()
            Modules whose statistics run over the kept channels.
        """
        report = pd.DataFrame(rows, columns=["layer", "total", "kept", "group"])
        report.insert(1, "unit", self.method.unit)
        report["requested"] = sparsity if self.sparsity is None else self.sparsity
        report["sparsity"] = 1 - report["kept"] / report["total"]
        kept = sum(p.numel() if plan else int(p.count_nonzero()) for p in pruned.parameters())
        left = {
            "parameters": kept / sum(p.numel() for p in dense.parameters()),
            "MACs": macs if plan else 1.0,
            "bytes": _bytes(pruned) / _bytes(dense),
        }
        return PruneResult(pruned, masks, plan, report, sparsity, skipped, left, over_kept)


def _bytes(model: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers()))


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
    for pattern in patterns:
        bare = pattern.removeprefix("module.").removeprefix("_orig_mod.")
        hits = fnmatch.filter(names, bare) + [n for n in names if n.startswith(bare + ".")]
        if not hits:
            near = difflib.get_close_matches(bare, names, 5, 0.4) or list(names)[:8]
            raise ValueError(f"{pattern!r} matches no prunable layer; near: {', '.join(near)}")
        found |= set(hits)
    return [name for name in names if name in found]
