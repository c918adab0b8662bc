"""What `prune` returns, and how it is shown: a few lines of text, or a table with a bar a layer in a notebook."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

import pandas as pd
from torch import nn

from survey_lib.chain.masks import Masks

SHOWN = 5  # reasons
CUT, MASKED = "cut out and checked against the mask", "masked: zeros that dense kernels still multiply"
OVER_KEPT = "statistics over kept channels only, so there the cut differs from the mask"
STYLE = "background:#4c72b0;height:0.8em;width:{:.0f}%"


@dataclass(frozen=True, repr=False)
class PruneResult:
    """What `prune` did; in a notebook it shows itself with a bar a layer.

    Attributes
    ----------
    model : nn.Module
        A new model; the argument of `prune` is untouched.
    masks : Masks
        {tensor name of the dense model: bool}, True = kept.
    plan : dict | None
        The cut as JSON (None for masked models); `survey_lib.load` replays it.
    report : pd.DataFrame
        One row a layer: layer, unit, total, kept, group, requested, sparsity; layers of one group share
        their units, so count a group once.
    sparsity : float
        Realised fraction of units removed.
    skipped : list[tuple[str, str]]
        (layer, reason) for what was left whole.
    left : dict[str, float]
        Share of the dense parameters, MACs and bytes that is left; a mask leaves all MACs and bytes, and
        of its parameters those count that are not zero.
    over_kept : tuple[str, ...]
        Modules whose statistics (layer norm, a mean over channels) are now taken over the kept channels:
        there the cut model differs from the masked one by nature, and is checked with norms over kept
        channels.
    """

    model: nn.Module
    masks: Masks
    plan: dict | None
    report: pd.DataFrame
    sparsity: float
    skipped: list[tuple[str, str]] = field(default_factory=list)
    left: dict[str, float] = field(default_factory=dict)
    over_kept: tuple[str, ...] = ()

    def __repr__(self) -> str:
        reasons = [f"left whole: {names} ({why})" for names, why in self._reasons(3)]
        if len(reasons) > SHOWN:
            reasons[SHOWN:] = [f"left whole for {len(reasons) - SHOWN} more reasons, see .skipped"]
        return "\n".join([*self._lines(), *reasons])

    def _repr_html_(self) -> str:
        rows = "".join(_row(layer) for layer in self.report.itertuples())
        reasons = "".join(f"<li>{escape(names)}: {escape(why)}</li>" for names, why in self._reasons(None))
        skipped = f"<details><summary>left whole: {len(self.skipped)}</summary><ul>{reasons}</ul></details>"
        head = "<tr><th>layer</th><th>unit</th><th>kept</th><th style='min-width:12em'></th></tr>"
        lines = "".join(f"<p>{escape(line)}</p>" for line in self._lines())
        return f"{lines}<table>{head}{rows}</table>{skipped}"

    def _lines(self) -> list[str]:
        unit = self.report["unit"].iloc[0].replace("n:m", "weight")
        how = CUT if self.plan else MASKED
        shares = ", ".join(f"{share:.3f} of the {name}" for name, share in self.left.items())
        lines = [f"{self.sparsity:.1%} of the {unit}s removed, {how}", f"left: {shares}"]
        if self.over_kept:
            lines.append(f"{OVER_KEPT}: {some(self.over_kept, 3)}")
        return lines

    def _reasons(self, shown: int | None) -> list[tuple[str, str]]:
        """(layers, reason), one pair a reason, with the first few layers by name."""
        by_reason: dict[str, list[str]] = {}
        for name, why in self.skipped:
            by_reason.setdefault(why, []).append(name)
        return [(some(names, shown), why) for why, names in by_reason.items()]


def _row(layer) -> str:
    share = layer.kept / layer.total
    bar = f"<div style='{STYLE.format(100 * share)}'></div>"
    cells = escape(layer.layer), escape(layer.unit), f"{layer.kept:,} of {layer.total:,}", bar
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def some(names: Sequence[str], shown: int | None) -> str:
    """The first few names, and how many more there are.

    Parameters
    ----------
    names : Sequence[str]
        All names.
    shown : int | None
        How many are shown; all if None.
    """
    more = len(names) - len(names[:shown])
    return ", ".join(names[:shown]) + (f" and {more} more" if more else "")
