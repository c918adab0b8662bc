"""What papers report about one network, by who measured it, and what became of the tools."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from survey_lib.analysis import literature
from survey_lib.charts.plots import MARKERS, PALETTE

SIDES = dict.fromkeys(("independent-benchmark", "third-party-reimplementation"), "measured by others")
BEHIND = ("authors", "measured by others", "quoted")
STATES = ("released", "last change", "pruning removed", "ended")


def points(dataset: str, model: str) -> pd.DataFrame:
    """Published drops (points, positive = lost) and theoretical speed-ups, with who stands behind each number.

    authors: the method's own; measured by others: a benchmark or a reimplementation; quoted: a number that a later
    paper or a meta-analysis copied, so mostly the authors' own once more.
    """
    table = literature.published().query("dataset == @dataset and model == @model and metric == 'top1 %'")
    table = table.dropna(subset=["delta", "flops_reduction_pct"])
    who = table["source_kind"].map(SIDES).mask(table["own"], "authors").fillna("quoted")
    speedup = 1 / (1 - table["flops_reduction_pct"] / 100)
    table = table.assign(who=who, speedup_theoretical=speedup, drop=-table["delta"])
    return table[["who", "method", "reported_by", "speedup_theoretical", "drop"]].reset_index(drop=True)


def timeline(table: pd.DataFrame, axes: Axes) -> None:
    """Each tool at the date of its last known event; the state is told by mark and colour."""
    when = table["year"] + (table["month"].fillna(6).astype(float) - 0.5) / 12
    for index, state in enumerate(STATES):
        chosen = table["state"] == state
        axes.plot(when[chosen], table.index[chosen], MARKERS[index], color=PALETTE[index], label=state)
    axes.set_yticks(table.index, table["tool"])
    axes.set(ylim=(len(table) - 0.4, -0.6), xlabel="year")
    axes.legend(fontsize=7, loc="lower left")
