"""The decision guide: which method loses least where a need is served, and what ties with it."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from survey_lib.analysis.recommendations import RATIOS, TRAINING, advice, settle
from survey_lib.charts.export import Drawing
from survey_lib.charts.looks import DENSE, GREY, PALETTE

RING = {"marker": "o", "markersize": 5, "markerfacecolor": "none"}
MARKS = {
    "loses least": {"marker": "o", "markersize": 9, "color": PALETTE[0], "zorder": 3},
    "ties with it": RING | {"color": PALETTE[0]},
    "loses more": RING | {"color": GREY},
    "random": {"marker": "x", "color": GREY},
}


def decision_guide(runs: pd.DataFrame) -> Drawing:
    """The guide as far as the runs of one study settle it: a row a need, a dot a method, the one to take named."""
    settled = settle(runs)
    panels = list(settled.groupby("recover"))[::-1]  # with training, and without
    heights = [rows["need"].nunique() for _, rows in panels]
    size = (5.8, 0.72 * sum(heights) + 1.8)
    figure, grid = plt.subplots(len(panels), 1, figsize=size, height_ratios=heights, squeeze=False)
    for axes, (recover, rows) in zip(grid.flat, panels, strict=True):
        _panel(rows, axes)
        axes.set_title(f"If {TRAINING[recover]}", loc="left")
    grid[-1, 0].set_xlabel("points lost, against a dense network that trained as long")
    marks = grid[0, 0].get_legend_handles_labels()
    figure.legend(*marks, loc="outside lower center", ncols=4, columnspacing=1)
    rivals = advice(settled).query("of > 0")
    clear = int((rivals["ties with"] == "-").sum())
    says = f"One method is clearly ahead of all others for {clear} of the {len(rivals)} needs"
    if not clear:
        says = "For no need is one method clearly ahead of all others"
    return Drawing(figure, says, settled)


def _panel(rows: pd.DataFrame, axes: Axes) -> None:
    needs = rows["need"].unique()
    random = rows["method"].str.startswith("random")
    names = ["loses least", "random", "ties with it"]
    kinds = np.select([rows["best"], random, rows["tied"]], names, "loses more")
    rows = rows.assign(row=pd.factorize(rows["need"])[0], kind=kinds)
    for kind, mark in MARKS.items():
        axes.plot("lost", "row", data=rows[rows["kind"] == kind], linestyle="", label=kind, **mark)
    middle = sum(axes.get_xlim()) / 2
    for best in rows[rows["best"]].itertuples():
        said = f"{best.method} ({best.at:.1f}× {RATIOS[best.x]}, n = {best.n})"
        side = "right" if best.lost > middle else "left"  # else the text would leave the axes
        axes.text(best.lost, best.row - 0.25, said, fontsize=8.5, ha=side, color=PALETTE[0])
    axes.axvline(0, color=DENSE, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(needs)), [textwrap.fill(need, 18) for need in needs])
    axes.set_ylim(len(needs) - 0.5, -0.7)
