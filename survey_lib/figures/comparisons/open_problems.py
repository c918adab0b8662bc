"""What is said about pruning, and the differences that speak for each sentence or against it."""

import math

import matplotlib.pyplot as plt
import pandas as pd
import yaml

from survey_lib.analysis import literature
from survey_lib.analysis.claims import LESS_IS_BETTER, UNITS
from survey_lib.analysis.numbers import finding
from survey_lib.charts import plots
from survey_lib.charts.export import Drawing
from survey_lib.charts.intervals import intervals

SOURCE = literature.FOLDER / "open_problems.yaml"
OURS, PAPERS = "measured in this course", "two published numbers"


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
    if [len(first), len(second)] != [1, 1]:
        raise ValueError(
            f"each side must be one published row, found {len(first)} and {len(second)}: {pair['where']}"
        )
    (a,), (b,), (metric,) = first["pruned_metric"], second["pruned_metric"], first["metric"]
    mean = 100 * math.log(b / a) if metric == "ppl" else a - b
    return {"source": PAPERS, "claim": "", "mean": round(mean, 4), "verdict": ""}


def open_problems() -> Drawing:
    """A line for each sentence: evidence against it on the left, for it on the right, hollow where methods tie."""
    table = evidence()
    sentences = list(table["says"].unique())[::-1]
    beside = table.groupby("says").cumcount() / table.groupby("says")["mean"].transform("size")
    table["at"] = table["says"].map(sentences.index) + 0.3 - 0.75 * beside
    figure, axes = plt.subplots(figsize=(8.6, 6.4))
    for (source, rows), marker, colour in zip(table.groupby("source"), "os", plots.PALETTE, strict=False):
        intervals(rows, axes, rows["at"], unit=1, label=source, marker=marker, color=colour)
    axes.set_xscale("symlog", linthresh=2)
    axes.set_xlim(-50, 120)
    axes.set_xticks([-50, -10, -2, -1, 0, 1, 2, 10, 50], [-50, -10, -2, -1, 0, 1, 2, 10, 50])
    axes.set_yticks(range(len(sentences)), sentences)
    axes.set_xlabel("← against      percentage points (losses: hundredths of a nat)      for →")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    counts = table["verdict"].value_counts()
    says = (
        f"Of {counts.drop('').sum()} differences that we measured, {counts.get('tie', 0)} are ties, "
        f"{counts.get('for', 0)} speak for the sentence and {counts.get('against', 0)} against it"
    )
    return Drawing(figure, says, table)
