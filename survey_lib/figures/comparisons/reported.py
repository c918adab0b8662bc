"""What papers report about one network, by who measured it, ours beside it, and what became of the tools."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from survey_lib.analysis import literature
from survey_lib.analysis.replication import MARGIN, replications
from survey_lib.charts.export import Drawing
from survey_lib.charts.intervals import whiskers
from survey_lib.charts.plots import DENSE, MARKERS, PALE, PALETTE, headline

SIDES = dict.fromkeys(("independent-benchmark", "third-party-reimplementation"), "measured by others")
BEHIND = ("authors", "measured by others", "quoted")
COLOURS = {"replicated": PALETTE[0], "not replicated": PALETTE[1], "undecided": PALETTE[3]}
STATES = ("released", "last change", "pruning removed", "ended")


def points(dataset: str, model: str) -> pd.DataFrame:
    """Published drops and theoretical speed-ups, with who stands behind each number.

    authors: the method's own; measured by others: a benchmark or a reimplementation; quoted: a number that a
    later paper or a meta-analysis copied, so mostly the authors' own once more. Drops are in points, positive
    = lost.

    Parameters
    ----------
    dataset : str
        As in the literature data.
    model : str
        As in the literature data.
    """
    table = literature.published().query("dataset == @dataset and model == @model and metric == 'top1 %'")
    table = table.dropna(subset=["delta", "flops_reduction_pct"])
    who = table["source_kind"].map(SIDES).mask(table["own"], "authors").fillna("quoted")
    speedup = 1 / (1 - table["flops_reduction_pct"] / 100)
    table = table.assign(who=who, speedup_theoretical=speedup, drop=-table["delta"])
    return table[["who", "method", "reported_by", "speedup_theoretical", "drop"]].reset_index(drop=True)


def timeline(table: pd.DataFrame, axes: Axes) -> None:
    """Each tool at the date of its last known event; the state is told by mark and colour.

    Parameters
    ----------
    table : pd.DataFrame
        The tools.
    axes : Axes
        Where to draw.
    """
    when = table["year"] + (table["month"].fillna(6).astype(float) - 0.5) / 12
    for index, state in enumerate(STATES):
        chosen = table["state"] == state
        axes.plot(when[chosen], table.index[chosen], MARKERS[index], color=PALETTE[index], label=state)
    axes.set_yticks(table.index, table["tool"])
    axes.set(ylim=(len(table) - 0.4, -0.6), xlabel="year")
    axes.legend(loc="lower left")


def published_against_ours(runs: pd.DataFrame) -> Drawing:
    """Each published test error with ±0.5 points, and ours with the interval of the difference, one row a target."""
    table = replications(runs)
    figure, axes = plt.subplots(figsize=(7.2, 1.6 + 0.38 * len(table)))
    axes.barh(range(len(table)), 2 * MARGIN, 0.62, table["published"] - MARGIN, color=PALE, zorder=0)
    axes.plot(
        table["published"], range(len(table)), "|", color=DENSE, markersize=15, label="published, ±0.5 points"
    )
    rows = table.assign(row=range(len(table)))
    for verdict, mine in rows.groupby("verdict"):
        ends = (mine["ours"] - mine["gap"] + mine[end] for end in ("low", "high"))
        look = {"fmt": "o", "capsize": 3, "color": COLOURS[verdict], "label": f"ours: {verdict}"}
        whiskers(mine["ours"], mine["row"], *ends, axes, standing=False, **look)
    axes.set_yticks(rows["row"], rows["source"] + ": " + rows["label"])
    axes.invert_yaxis()
    axes.use_sticky_edges = False
    axes.margins(x=0.03)
    axes.set_xlabel("test error, %; bars: 95 % interval of ours minus published")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    counts = rows["verdict"].value_counts()
    text = (
        f"{counts.get('replicated', 0)} of {len(rows)} published numbers come out again within half a point"
    )
    headline(figure, text)
    caption = (
        f"Published test errors on MNIST with {' and '.join(rows['network'].unique())}, and the errors of our runs, "
        f"{rows['n'].min()} seeds or more. {text}; not replicated {counts.get('not replicated', 0)}, undecided {counts.get('undecided', 0)}."
    )
    return Drawing(figure, caption, caption, table.reset_index(names="target"))
