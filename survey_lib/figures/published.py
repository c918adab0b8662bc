"""Figures of published numbers, and of ours beside them, for the notebooks 17, 18 and 21."""

import math

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import yaml

from survey_lib.analysis import literature
from survey_lib.analysis.claims import LESS_IS_BETTER, UNITS
from survey_lib.analysis.literature import MARGIN, replications
from survey_lib.analysis.numbers import finding
from survey_lib.charts import plots
from survey_lib.charts.export import Drawing
from survey_lib.charts.plots import DENSE, GREY, MARKERS, PALE, PALETTE, intervals

COLOURS = {"replicated": PALETTE[0], "not replicated": PALETTE[1], "undecided": PALETTE[3]}
SOURCE = literature.FOLDER / "open_problems.yaml"
OURS, PAPERS = "measured in this course", "two published numbers"


def published_against_ours(runs: pd.DataFrame) -> Drawing:
    """Each published test error with ±0.5 points, and ours with the interval of the difference, one row a target."""
    table = replications(runs)
    rows = table.assign(row=range(len(table)), reach=table["high"] - table["gap"])
    figure, axes = plt.subplots(figsize=(7.2, 1.6 + 0.38 * len(table)))
    near = rows["published"] - MARGIN, rows["published"] + MARGIN
    axes.hlines(rows["row"], *near, color=PALE, linewidth=17, zorder=0)
    axes.plot(rows["published"], rows["row"], "|", color=DENSE, markersize=15, label="published, ±0.5 points")
    for verdict, mine in rows.groupby("verdict"):
        look = {"fmt": "o", "capsize": 3, "color": COLOURS[verdict], "label": f"ours: {verdict}"}
        axes.errorbar(mine["ours"], mine["row"], xerr=mine["reach"], **look)
    axes.set_yticks(rows["row"], rows["source"] + ": " + rows["label"])
    axes.invert_yaxis()
    axes.set_xlabel("test error, %; bars: 95 % interval of ours minus published")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    again = (rows["verdict"] == "replicated").sum()
    says = f"{again} of {len(rows)} published numbers come out again within half a point"
    about = {"networks": " and ".join(rows["network"].unique()), "n": rows["n"].min()}
    return Drawing(figure, says, table.reset_index(names="target"), about)


def published_baselines() -> Drawing:
    """Each dense accuracy that some source prints for the same network on the same data."""
    spread = literature.baselines().head(10)
    names = [f"{row.model}, {row.dataset} ({row.lowest:g})" for row in spread.itertuples()]
    printed = literature.published().query("metric == 'top1 %'").merge(spread.assign(network=names))
    printed = printed.eval("above = baseline_metric - lowest").drop_duplicates(["network", "above"])
    figure, axes = plt.subplots(figsize=(5.6, 3.6))
    look = {"color": PALETTE[0], "alpha": 0.6, "size": 6, "jitter": False}
    sns.stripplot(printed, x="above", y="network", order=names, ax=axes, **look)
    axes.hlines(names, 0, spread["spread"], color=GREY, linewidth=1)
    axes.set(xlabel="points above the lowest reported accuracy (in brackets)", ylabel="")
    says = f"One network, dense accuracies up to {spread['spread'].max():.1f} points apart"
    return Drawing(figure, says, spread)


def published_changes() -> Drawing:
    """Authors' own claims on one network: accuracy change against the share of MACs removed."""
    points = literature.overlay("CIFAR-10", "ResNet-56").dropna(subset=["speedup_theoretical", "delta"])
    figure, axes = plt.subplots(figsize=(5.6, 4.6))
    for place, (method, rows) in enumerate(points.groupby("method")):
        look = {"color": PALETTE[place % len(PALETTE)], "marker": MARKERS[place]}
        axes.plot(rows["speedup_theoretical"], rows["delta"] * 100, linestyle="", label=method, **look)
    axes.axhline(0, color=DENSE, linestyle="--", linewidth=1)
    plots.scale(axes, "speedup_theoretical")
    axes.set_ylabel("change of accuracy, points")
    figure.legend(loc="outside lower center", ncols=2)
    says = f"{(points['delta'] >= 0).sum()} of {len(points)} authors' claims report no loss"
    ends = points["dense_accuracy"].agg(["min", "max"])
    return Drawing(figure, says, points, {"low": ends["min"], "high": ends["max"]})


def evidence() -> pd.DataFrame:
    """The differences behind each sentence of data/literature/open_problems.yaml, a row each.

    `mean`, `low` and `high` are points, or hundredths of a nat for losses; above 0 speaks for the sentence. A
    published pair has no interval. `verdict` is tie, for or against after Holm's correction, and empty for a
    pair.

    Raises
    ------
    ValueError
        For a pair in which a side is not exactly one published row.
    """
    rows = []
    for problem in yaml.safe_load(SOURCE.read_text(encoding="utf-8")):
        rows += [_ours(name, side) | problem for name, side in problem["ours"].items()]
        rows += [_published(pair) | problem for pair in problem.get("reported", ())]
    return pd.DataFrame(rows).drop(columns=["ours", "reported"], errors="ignore")


def _ours(name: str, favoured: str) -> dict:
    found = finding(name)
    speaks = (favoured == "first") != found.metric.endswith(LESS_IS_BETTER)
    unit = (1 if speaks else -1) * 100 / UNITS[found.unit]
    low, mean, high = sorted(unit * end for end in (found.low, found.mean, found.high))
    verdict = "tie" if found.verdict == "tie" else "for" if mean > 0 else "against"
    return {"source": OURS, "claim": name, "mean": mean, "low": low, "high": high, "verdict": verdict}


def _published(pair: dict) -> dict:
    table = literature.published().query(pair["where"])
    first, second = (table.query(pair[side]) for side in ("first", "second"))
    found = f"{len(first)} and {len(second)}"
    if found != "1 and 1":
        raise ValueError(f"each side must be one published row, found {found}: {pair['where']}")
    (a,), (b,), (metric,) = first["pruned_metric"], second["pruned_metric"], first["metric"]
    mean = 100 * math.log(b / a) if metric == "ppl" else a - b
    return {"source": PAPERS, "claim": "", "mean": round(mean, 4), "verdict": ""}


def open_problems() -> Drawing:
    """What is said about pruning, a line a sentence: evidence against it on the left, for it on the right.

    Marks are hollow where methods tie.
    """
    table = evidence()
    sentences = list(table["says"].unique())[::-1]
    beside = table.groupby("says").cumcount() / table.groupby("says")["mean"].transform("size")
    table["at"] = table["says"].map(sentences.index) + 0.3 - 0.75 * beside
    figure, axes = plt.subplots(figsize=(8.6, 6.4))
    for (source, rows), marker, colour in zip(table.groupby("source"), "os", PALETTE, strict=False):
        intervals(rows, axes, rows["at"], unit=1, label=source, marker=marker, color=colour)
    axes.set_xscale("symlog", linthresh=2)
    ticks = [-50, -10, -2, -1, 0, 1, 2, 10, 50]
    axes.set_xticks(ticks, ticks)
    axes.set_xlim(-50, 120)
    axes.set_yticks(range(len(sentences)), sentences)
    axes.set_xlabel("← against      percentage points (losses: hundredths of a nat)      for →")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    counts = table["verdict"].value_counts()
    ties, speak, against = (counts.get(verdict, 0) for verdict in ("tie", "for", "against"))
    said = f"{ties} are ties, {speak} speak for the sentence and {against} against it"
    return Drawing(figure, f"Of {ties + speak + against} differences that we measured, {said}", table)
