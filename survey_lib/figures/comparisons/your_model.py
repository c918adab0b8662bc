"""The decision guide: which method loses least where a need is served, and what ties with it."""

import textwrap

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from survey_lib.analysis.recommendations import RATIOS, TRAINING, advice, settle
from survey_lib.charts.export import Drawing, titled
from survey_lib.charts.looks import DENSE, GREY, PALETTE

RING = {"marker": "o", "markersize": 5, "markerfacecolor": "none"}
MARKS = {
    "loses least": {"marker": "o", "markersize": 9, "color": PALETTE[0]},
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
    marks = [Line2D([], [], linestyle="", label=name, **mark) for name, mark in MARKS.items()]
    figure.legend(handles=marks, loc="outside lower center", ncols=4, columnspacing=1)
    rivals = advice(settled).query("of > 0")
    clear = int((rivals["ties with"] == "-").sum())
    says = f"One method is clearly ahead of all others for {clear} of the {len(rivals)} needs"
    if not clear:
        says = "For no need is one method clearly ahead of all others"
    about = (
        "Points of accuracy each method loses where a need is served, against a dense network that had the same "
        "training, mean over seeds. Large: the least loss; ringed: ties with it (paired over seeds, Holm-corrected "
        "at 0.05); grey: loses significantly more; cross: random."
    )
    return titled(figure, says, about, settled)


def _panel(rows: pd.DataFrame, axes: Axes) -> None:
    needs = list(dict.fromkeys(rows["need"]))
    for row in rows.itertuples():
        kind = "loses least" if row.best else "ties with it" if row.tied else "loses more"
        if row.method.startswith("random") and not row.best:
            kind = "random"
        axes.plot(row.lost, needs.index(row.need), linestyle="", zorder=3 if row.best else 2, **MARKS[kind])
    middle = sum(axes.get_xlim()) / 2
    for row in rows[rows["best"]].itertuples():
        said = f"{row.method} ({row.at:.1f}× {RATIOS[row.x]}, n = {row.n})"
        side = "right" if row.lost > middle else "left"  # else the text would leave the axes
        axes.text(row.lost, needs.index(row.need) - 0.25, said, fontsize=8.5, ha=side, color=PALETTE[0])
    axes.axvline(0, color=DENSE, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(needs)), [textwrap.fill(need, 18) for need in needs])
    axes.set_ylim(len(needs) - 0.5, -0.7)
