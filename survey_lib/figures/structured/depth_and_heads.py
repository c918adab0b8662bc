"""Leaving out blocks against narrowing layers, at equal multiply-adds."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from survey_lib.analysis.equal_compression import compare, contrast
from survey_lib.analysis.statistics import Estimate
from survey_lib.analysis.tables import main_setting
from survey_lib.charts import plots
from survey_lib.charts.export import Drawing

DEPTH, WIDTH = "block-influence", "l1-filter"
STAGES = {"right after the cut": "pruned_accuracy", "after recovery": "accuracy"}


def depth_against_width(frame: pd.DataFrame) -> Drawing:
    """Error against theoretical speed-up right after the cut and after recovery, on the pair of most runs."""
    tuned = frame[(frame["recovery"] == "finetune") & (frame["structure"] == "structured")]
    label, main = main_setting(tuned.assign(method=tuned["method"].str.partition(" (")[0]))
    figure, grid = plt.subplots(2, 1, figsize=(5.6, 6), sharex=True, sharey=True)
    tables, says, words = [], [], []
    for axes, (title, metric) in zip(grid, STAGES.items(), strict=True):
        runs = main.assign(error=1 - main[metric])
        tables.append(_lines(runs, axes).assign(panel=title))
        axes.set(title=title, ylabel="test error")
        says.append(f"{title} {gap(main, metric)}")
        words.append(f"{title} {_verdict(_compared(main, metric))}")
    grid[0].set_xlabel("")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, columnspacing=1)
    text = "; ".join(words)
    text = text[0].upper() + text[1:]
    plots.headline(figure, text)
    gaps = f"Blocks left out minus layers narrowed, at equal MACs: {'; '.join(says)}"
    caption = (
        f"Test error against the theoretical speed-up of the cut network ({label}), mean over seeds, small marks each "
        f"seed; dense level dashed, random filters grey. {text}. {gaps}."
    )
    return Drawing(figure, caption, f"Two line charts. {text}.", pd.concat(tables, ignore_index=True))


def _lines(runs: pd.DataFrame, axes: Axes) -> pd.DataFrame:
    table = plots.spread(runs, "speedup_theoretical", "error")
    for method, style in plots.looks(sorted(set(runs["method"]))).items():
        rows, each = table[table["method"] == method], runs[runs["method"] == method]
        axes.plot(rows["x"], rows["mean"], label=method, **style)
        axes.plot(each["speedup_theoretical"], each["error"], linestyle="", markersize=3, alpha=0.4, **style)
    plots.dense_line(axes, 1 - runs["dense_accuracy"].mean())
    plots.scale(axes, "speedup_theoretical")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    plots.note_n(axes, table["n"])
    return table


def _compared(frame: pd.DataFrame, metric: str) -> Estimate:
    runs = frame.assign(accuracy=frame[metric])
    return compare(
        contrast(*(runs[runs["method"] == name] for name in (DEPTH, WIDTH)), "speedup_theoretical")
    )


def _verdict(found: Estimate) -> str:
    """What the interval says of blocks left out, against layers narrowed at equal MACs."""
    if found.low <= 0 <= found.high:
        return "leaving out blocks and narrowing layers tie"
    word = "better" if found.mean > 0 else "worse"
    return f"leaving out blocks is {abs(100 * found.mean):.0f} points {word} than narrowing layers"


def gap(frame: pd.DataFrame, metric: str = "accuracy") -> str:
    """Accuracy of blocks left out minus that of narrowed layers over equal MACs, in points.

    With its 95 % interval.

    Parameters
    ----------
    frame : pd.DataFrame
        Table of runs.
    metric : str, default 'accuracy'
        A column.
    """
    found = _compared(frame, metric)
    return f"{100 * found.mean:+.1f} points ({100 * found.low:+.1f} to {100 * found.high:+.1f})"
