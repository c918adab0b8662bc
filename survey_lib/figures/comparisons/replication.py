"""The figure of lesson 17: published test errors beside ours."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd

from survey_lib.analysis.replication import MARGIN, replications
from survey_lib.charts.export import Drawing
from survey_lib.charts.plots import DENSE, PALE, PALETTE, headline

COLOURS = {"replicated": PALETTE[0], "not replicated": PALETTE[1], "undecided": PALETTE[3]}


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
        reach = [mine["gap"] - mine["low"], mine["high"] - mine["gap"]]
        look = {"fmt": "o", "capsize": 3, "color": COLOURS[verdict]}
        axes.errorbar(mine["ours"], mine["row"], xerr=reach, label=f"ours: {verdict}", **look)
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
        f"Published test errors on MNIST with LeNet-300-100 and the errors of our runs, {rows['n'].min()} seeds or "
        f"more. {text}; not replicated {counts.get('not replicated', 0)}, undecided {counts.get('undecided', 0)}."
    )
    return Drawing(figure, caption, caption, table.reset_index(names="target"))
