"""Published test errors on small networks, and ours beside them."""

import matplotlib.pyplot as plt
import pandas as pd

from survey_lib.analysis.replication import MARGIN, replications
from survey_lib.charts.export import Drawing
from survey_lib.charts.looks import DENSE, PALE, PALETTE

COLOURS = {"replicated": PALETTE[0], "not replicated": PALETTE[1], "undecided": PALETTE[3]}


def published_against_ours(runs: pd.DataFrame) -> Drawing:
    """Each published test error with ±0.5 points, and ours with the interval of the difference, one row a target."""
    table = replications(runs)
    rows = table.assign(row=range(len(table)), reach=table["high"] - table["gap"])
    figure, axes = plt.subplots(figsize=(7.2, 1.6 + 0.38 * len(table)))
    axes.barh(rows["row"], 2 * MARGIN, 0.62, rows["published"] - MARGIN, color=PALE, zorder=0)
    axes.plot(rows["published"], rows["row"], "|", color=DENSE, markersize=15, label="published, ±0.5 points")
    for verdict, mine in rows.groupby("verdict"):
        look = {"fmt": "o", "capsize": 3, "color": COLOURS[verdict], "label": f"ours: {verdict}"}
        axes.errorbar(mine["ours"], mine["row"], xerr=mine["reach"], **look)
    axes.set_yticks(rows["row"], rows["source"] + ": " + rows["label"])
    axes.invert_yaxis()
    axes.use_sticky_edges = False
    axes.margins(x=0.03)
    axes.set_xlabel("test error, %; bars: 95 % interval of ours minus published")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    again = (rows["verdict"] == "replicated").sum()
    says = f"{again} of {len(rows)} published numbers come out again within half a point"
    about = {"networks": " and ".join(rows["network"].unique()), "n": rows["n"].min()}
    return Drawing(figure, says, table.reset_index(names="target"), about)
