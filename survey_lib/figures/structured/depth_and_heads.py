"""Drawings of depth against width, and of what scores foretell of the parts they score."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from scipy import stats

from survey_lib.analysis.equal_compression import compare, contrast
from survey_lib.analysis.findings import finding, main_setting
from survey_lib.charts import plots
from survey_lib.charts.export import Drawing

DEPTH, WIDTH = "block-influence", "l1-filter"


def foretold(score: pd.Series, damage: pd.Series, axes: Axes, named: int = 3) -> float:
    """Score of each part against the damage done without it; returns Spearman's ρ. Both are indexed by part.

    The `named` parts of most damage are labelled; names of all would lie over each other.
    """
    axes.plot(score, damage[score.index], "o", color=plots.PALETTE[0])
    for name in damage.nlargest(named).index:
        axes.annotate(name, (score[name], damage[name]), xytext=(-4, 4), textcoords="offset points", fontsize=7,
                      ha="right")  # fmt: skip
    axes.margins(0.12)
    return float(stats.spearmanr(score, damage[score.index]).statistic)


STAGES = {"right after the cut": "pruned_accuracy", "after recovery": "accuracy"}


def depth_against_width(frame: pd.DataFrame) -> Drawing:
    """Accuracy against theoretical speed-up right after the cut and after recovery, on the pair of most runs."""
    label, main = main_setting(
        frame[(frame["recovery"] == "finetune") & (frame["structure"] == "structured")]
    )
    figure, grid = plt.subplots(1, 2, figsize=(8.6, 3.9))
    tables, says = [], []
    for axes, (title, metric) in zip(grid, STAGES.items(), strict=True):
        runs = main.assign(accuracy=main[metric])
        tables.append(_lines(runs, axes).assign(panel=title))
        axes.set_title(title)
        says.append(f"{title} {_gap(runs)}")
    grid[0].set_ylabel(plots.LABELS["accuracy"])
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    text = f"{label}, fewer blocks minus narrower layers at equal MACs: {'; '.join(says)}"
    plots.headline(figure, text)
    caption = (
        "Test accuracy against the theoretical speed-up of the cut network, mean and standard deviation over "
        f"seeds; dense level dashed, random filters grey. {text}."
    )
    return Drawing(figure, caption, f"Two line charts. {text}.", pd.concat(tables, ignore_index=True))


def _lines(frame: pd.DataFrame, axes: Axes, x: str = "speedup_theoretical") -> pd.DataFrame:
    table = plots.spread(frame, x)
    for method, style in plots.looks(sorted(set(frame["method"]))).items():
        rows = table[table["method"] == method]
        axes.errorbar(rows["x"], rows["mean"], yerr=rows["std"], capsize=2, label=method, **style)
    plots.dense_line(frame, axes)
    plots.scale(axes, x)
    plots.note_n(axes, table["n"])
    return table


def gap(frame: pd.DataFrame, first: str = DEPTH, second: str = WIDTH) -> tuple[float, float, float, int]:
    """Mean of first minus second over equal MACs, in points, with its 95 % interval, and the number of seeds."""
    sides = [frame[frame["method"] == name] for name in (first, second)]
    found = compare(contrast(*sides, "speedup_theoretical"))
    return 100 * found.mean, 100 * found.low, 100 * found.high, found.n


def _gap(frame: pd.DataFrame) -> str:
    if not {DEPTH, WIDTH} <= set(frame["method"]):
        return finding(frame)
    mean, low, high, n = gap(frame)
    return f"{mean:+.1f} points ({low:+.1f} to {high:+.1f}, n = {n})"


def at_equal_time(points: Mapping[str, pd.DataFrame], axes: Axes) -> None:
    """Accuracy against measured speed-up: method -> frame of speedup, accuracy."""
    for method, style in plots.looks(sorted(points)).items():
        rows = points[method].sort_values("speedup")
        axes.plot(rows["speedup"], rows["accuracy"], label=method, **style)
    axes.set(xlabel="measured speed-up (dense / cut time) on this machine", ylabel=plots.LABELS["accuracy"])
    axes.legend(fontsize=7)
