"""Leaving out blocks against narrowing layers, at equal multiply-adds."""

import matplotlib.pyplot as plt
import pandas as pd

from survey_lib.analysis.equal_compression import difference
from survey_lib.analysis.tables import main_setting
from survey_lib.charts import plots
from survey_lib.charts.export import Drawing

STAGES = {"right after the cut": "pruned_accuracy", "after recovery": "accuracy"}


def depth_against_width(frame: pd.DataFrame) -> Drawing:
    """Error against theoretical speed-up right after the cut and after recovery, on the pair of most runs."""
    where, main = main_setting(frame.query("recovery == 'finetune' and structure == 'structured'"))
    figure, grid = plt.subplots(2, 1, figsize=(5.6, 6), sharex=True, sharey=True)
    tables, words = {}, []
    for axes, (title, metric) in zip(grid, STAGES.items(), strict=True):
        runs = main.assign(error=1 - main[metric])
        tables[title] = plots.lines(runs, axes, "speedup_theoretical", "error")
        axes.set_title(title)
        plots.logarithm(axes, "y", "%")
        words.append(f"{title} {_verdict(main, metric)}")
    grid[0].set_xlabel("")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, columnspacing=1)
    says = "; ".join(words)
    data = pd.concat(tables, names=["panel"]).reset_index("panel")
    return Drawing(figure, says[0].upper() + says[1:], data, {"where": where})


def _verdict(runs: pd.DataFrame, metric: str) -> str:
    """What the interval says of blocks left out, against layers narrowed at equal MACs."""
    found = difference(runs, "block-influence", "l1-filter", "speedup_theoretical", metric)
    if found.low <= 0 <= found.high:
        return "leaving out blocks and narrowing layers tie"
    word = "better" if found.mean > 0 else "worse"
    return f"leaving out blocks is {abs(100 * found.mean):.0f} points {word} than narrowing layers"
