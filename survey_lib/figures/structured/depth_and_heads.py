"""Leaving out blocks against narrowing layers, at equal multiply-adds."""

import matplotlib.pyplot as plt
import pandas as pd

from survey_lib.analysis.equal_compression import compare, contrast
from survey_lib.analysis.statistics import Estimate
from survey_lib.analysis.tables import main_setting
from survey_lib.charts import plots
from survey_lib.charts.export import Drawing, titled

DEPTH, WIDTH = "block-influence", "l1-filter"
STAGES = {"right after the cut": "pruned_accuracy", "after recovery": "accuracy"}


def depth_against_width(frame: pd.DataFrame) -> Drawing:
    """Error against theoretical speed-up right after the cut and after recovery, on the pair of most runs."""
    tuned = frame[(frame["recovery"] == "finetune") & (frame["structure"] == "structured")]
    label, main = main_setting(tuned.assign(method=tuned["method"].str.partition(" (")[0]))
    figure, grid = plt.subplots(2, 1, figsize=(5.6, 6), sharex=True, sharey=True)
    tables, words = {}, []
    for axes, (title, metric) in zip(grid, STAGES.items(), strict=True):
        runs = main.assign(error=1 - main[metric])
        tables[title] = plots.lines(runs, axes, "speedup_theoretical", "error")
        plots.dense_line(axes, 1 - runs["dense_accuracy"].mean())
        axes.set(title=title, yscale="log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
        words.append(f"{title} {_verdict(gap(main, metric))}")
    grid[0].set_xlabel("")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, columnspacing=1)
    says = "; ".join(words)
    about = (
        f"Test error against the theoretical speed-up of the cut network ({label}), mean and standard deviation over "
        "seeds; dense level dashed, random filters grey. Methods are compared at equal MACs, with 95 % intervals."
    )
    data = pd.concat(tables, names=["panel"]).reset_index("panel")
    return titled(figure, says[0].upper() + says[1:], about, data)


def gap(frame: pd.DataFrame, metric: str = "accuracy") -> Estimate:
    """Accuracy of blocks left out minus that of narrowed layers over equal MACs.

    Parameters
    ----------
    frame : pd.DataFrame
        Table of runs.
    metric : str, default 'accuracy'
        A column.
    """
    runs = frame.assign(accuracy=frame[metric])
    sides = (runs[runs["method"] == name] for name in (DEPTH, WIDTH))
    return compare(contrast(*sides, "speedup_theoretical"))


def _verdict(found: Estimate) -> str:
    """What the interval says of blocks left out, against layers narrowed at equal MACs."""
    if found.low <= 0 <= found.high:
        return "leaving out blocks and narrowing layers tie"
    word = "better" if found.mean > 0 else "worse"
    return f"leaving out blocks is {abs(100 * found.mean):.0f} points {word} than narrowing layers"
