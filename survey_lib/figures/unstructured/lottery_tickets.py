"""Figures of masks and tickets over sparsity, with their controls: shuffled, on new weights, random."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from survey_lib.charts import plots
from survey_lib.charts.export import Drawing
from survey_lib.charts.looks import GREY, MARKERS, PALETTE

TICKETS = ("original", "shuffled", "reinitialised")


def over_sparsity(lines: Mapping[str, pd.DataFrame], axes: Axes) -> pd.DataFrame:
    """Test error over the kept share, one line with its band a name; names that start with `random` are grey.

    The kept share is on a logarithm, and so are errors that differ by more than a factor of three. The dense error is
    dashed.

    Parameters
    ----------
    lines : Mapping[str, pd.DataFrame]
        Name -> runs, with sparsity, seed, accuracy and dense_accuracy.
    axes : Axes
        Where to draw.

    Returns
    -------
    pd.DataFrame
        What was drawn.
    """
    runs = pd.concat(lines, names=["line"]).reset_index("line")
    order = pd.Categorical(runs["line"], list(lines))
    runs = runs.assign(line=order, kept=1 - runs["sparsity"], error=1 - runs["accuracy"])
    styles = {
        name: {"color": GREY if name.startswith("random") else PALETTE[place], "marker": MARKERS[place]}
        for place, name in enumerate(lines)
    }
    table = plots.lines(runs, axes, "kept", "error", "line", styles=styles)
    kept_axis(axes)
    axes.set_ylabel("test error")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    if table["mean"].max() > 3 * table["mean"].min():
        plots.logarithm(axes, "y", "%")
    return table[["sparsity", "mean", "std", "n", "line"]]


def kept_axis(axes: Axes) -> None:
    """The kept share on a logarithm, much kept on the left."""
    plots.logarithm(axes, "x", "%")
    axes.invert_xaxis()
    axes.set_xlabel("kept weights")


def winning(frame: pd.DataFrame) -> Drawing:
    """Winning tickets, their masks shuffled and with new weights, over sparsity: the figure of notebook 05."""
    imp = frame[frame["data"] == frame["data"].mode().iloc[0]].query(
        "method == 'imp' and recovery == 'rewind'"
    )
    # The sweep of rewind points is another figure
    imp = imp[imp["rewind_epoch"] == imp["rewind_epoch"].mode().iloc[0]]
    figure, axes = plt.subplots(figsize=(6.4, 3.7))
    table = over_sparsity({ticket: imp[imp["ticket"] == ticket] for ticket in TICKETS}, axes)
    axes.legend()
    end = imp.loc[imp["ticket"] == "shuffled", "sparsity"].max()  # the rounds go on without controls
    last = table[table["sparsity"] == end].set_index("line")["mean"]
    says = (
        f"With {1 - end:.0%} of the weights the ticket gets {last['original']:.1%} wrong, "
        f"its mask on new weights {last['reinitialised']:.1%}, shuffled {last['shuffled']:.1%}"
    )
    return Drawing(figure, says, table)


def early(frame: pd.DataFrame) -> Drawing:
    """Masks found before training, as found, shuffled and on new weights: the figure of notebook 04."""
    toy = frame[frame["data"] == frame["data"].mode().iloc[0]]
    methods = sorted(set(toy.loc[toy["ticket"] == "shuffled", "method"]))
    random = toy.query("method == 'random' and recovery == 'scratch-e' and scope == 'layerwise'")
    figure, grid = plt.subplots(1, len(methods), figsize=(2.9 * len(methods), 3.4), sharey=True)
    tables = []
    for method, axes in zip(methods, grid, strict=True):
        rows = toy[toy["method"] == method]
        lines = {ticket: rows[rows["ticket"] == ticket] for ticket in TICKETS}
        tables.append(over_sparsity(lines | {"random, from the start": random}, axes).assign(method=method))
        axes.set(title=method, ylabel="test error" if method == methods[0] else "")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    table = pd.concat(tables, ignore_index=True)
    end = table["sparsity"].max()
    means = table[table["sparsity"] == end].pivot_table("mean", "method", "line", observed=True)
    costs = 100 * (means["shuffled"] - means["original"])
    says = f"With {1 - end:.0%} of the weights, shuffling a mask costs {costs.min():.0f} to {costs.max():.0f} points"
    return Drawing(figure, says, table)
