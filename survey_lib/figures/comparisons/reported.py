"""Drawings of what papers report beside what we measured, and of what became of the tools."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from survey_lib.analysis import literature
from survey_lib.charts.plots import DENSE, GREY, MARKERS, PALETTE, looks, scale

SIDES = dict.fromkeys(("independent-benchmark", "third-party-reimplementation"), "measured by others")
BEHIND = ("authors", "measured by others", "quoted")
STATES = ("released", "last change", "pruning removed", "ended")


def tools() -> pd.DataFrame:
    """One row a tool: year, month (missing where only the year is known), state, what, source; oldest first."""
    table = pd.read_csv(literature.FOLDER / "tools.csv", dtype={"month": "Int64"})
    return table.sort_values(["year", "month"], na_position="first", ignore_index=True)


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


def overlay(published: pd.DataFrame, ours: pd.DataFrame, axes: Axes) -> None:
    """Published drops as marks, by who stands behind them, and ours as lines."""
    x, marks = (
        "speedup_theoretical",
        dict(zip(BEHIND, zip(MARKERS, (DENSE, PALETTE[4], GREY), strict=False), strict=False)),
    )
    for who, rows in published.groupby("who"):
        marker, colour = marks[who]
        axes.plot(rows[x], rows["drop"], marker, color=colour, alpha=0.6, label=f"published: {who}")
    for index, (method, rows) in enumerate(ours.groupby("method")):
        style = looks(list(ours["method"].unique()))[method] | {"marker": MARKERS[len(BEHIND) + index]}
        axes.plot(rows[x], rows["drop"], label=f"this course: {method}", **style)
    axes.axhline(0, color=DENSE, linestyle="--", linewidth=1)
    scale(axes, x)
    axes.set_ylabel("accuracy lost, points")
    axes.legend(fontsize=6.5)


def timeline(table: pd.DataFrame, axes: Axes) -> None:
    """Each tool at the date of its last known event; the state is told by mark and colour."""
    when = table["year"] + (table["month"].fillna(6).astype(float) - 0.5) / 12
    for index, state in enumerate(STATES):
        chosen = table["state"] == state
        axes.plot(when[chosen], table.index[chosen], MARKERS[index], color=PALETTE[index], label=state)
    axes.set_yticks(table.index, table["tool"])
    axes.set(ylim=(len(table) - 0.4, -0.6), xlabel="year")
    axes.legend(fontsize=7, loc="lower left")
