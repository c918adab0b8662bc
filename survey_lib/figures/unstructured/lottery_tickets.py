"""Figures of masks and tickets over sparsity, with their controls: shuffled, on new weights, random."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator, PercentFormatter

from survey_lib.charts.export import Drawing, titled
from survey_lib.charts.looks import GREY, MARKERS, PALETTE
from survey_lib.charts.plots import band, dense_line, note_n

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
    tables = []
    for index, (name, runs) in enumerate(lines.items()):
        runs = runs.assign(kept=1 - runs["sparsity"], error=1 - runs["accuracy"])
        colour = GREY if name.startswith("random") else PALETTE[index]
        band(runs, axes, "kept", "error", label=name, color=colour, marker=MARKERS[index])
        rows = runs.groupby("sparsity")["error"].agg(mean="mean", std="std", n="count").fillna({"std": 0.0})
        tables.append(rows.reset_index().assign(line=name))
    dense_line(axes, 1 - pd.concat(lines.values())["dense_accuracy"].mean())
    table = pd.concat(tables, ignore_index=True)
    kept_axis(axes, sorted(table["sparsity"].unique()))
    axes.set_ylabel("test error, %")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=1, symbol=""))
    if table["mean"].max() > 3 * table["mean"].min():
        axes.set_yscale("log")
        axes.set_yticks([0.02, 0.05, 0.1, 0.2, 0.5, 0.9], ["2", "5", "10", "20", "50", "90"])
        axes.yaxis.set_minor_locator(NullLocator())
    note_n(axes, table["n"])
    return table


def kept_axis(axes: Axes, sparsities: list[float]) -> None:
    """The kept share on a logarithm, much kept on the left.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    sparsities : list[float]
        Those that were run; ticks are at those that leave room for a number.
    """
    kept = sorted(1 - sparsity for sparsity in sparsities)
    ticks = kept[:1]
    for share in kept:
        ticks += [share] if share > 1.5 * ticks[-1] else []
    axes.set_xscale("log")
    axes.set_xlim(max(kept) * 1.2, min(kept) / 1.2)
    axes.set_xticks(ticks, [f"{100 * share:.2g}" for share in ticks])
    axes.minorticks_off()
    axes.set_xlabel("kept weights, %")


def winning(frame: pd.DataFrame) -> Drawing:
    """Winning tickets, their masks shuffled and with new weights, over sparsity: the figure of notebook 05."""
    frame = frame[frame["data"] == frame["data"].mode().iloc[0]]
    imp = frame[(frame["method"].str.split(" ").str[0] == "imp") & (frame["recovery"] == "rewind")]
    # The sweep of rewind points is another figure
    imp = imp[imp["rewind_epoch"] == imp["rewind_epoch"].mode().iloc[0]]
    lines = {ticket: imp[imp["ticket"] == ticket] for ticket in TICKETS}
    figure, axes = plt.subplots(figsize=(6.4, 3.7))
    table = over_sparsity(lines, axes)
    axes.legend()
    end = lines["shuffled"]["sparsity"].max()  # the rounds go on without controls
    last = table[table["sparsity"] == end].set_index("line")["mean"]
    says = (
        f"With {1 - end:.0%} of the weights the ticket gets {last['original']:.1%} wrong, "
        f"its mask on new weights {last['reinitialised']:.1%}, shuffled {last['shuffled']:.1%}"
    )
    about = (
        "Test error of tickets of iterative magnitude pruning with rewinding, of the same masks shuffled in each layer, "
        "and of the same masks on new weights; mean and standard deviation over seeds, dense level dashed."
    )
    return titled(figure, says, about, table)


def early(frame: pd.DataFrame) -> Drawing:
    """Masks found before training, as found, shuffled and on new weights: the figure of notebook 04."""
    toy = frame[frame["data"] == frame["data"].mode().iloc[0]]
    toy = toy.assign(method=toy["method"].str.split(" ").str[0])
    methods = sorted(set(toy.loc[toy["ticket"] == "shuffled", "method"]))
    random = toy.query("method == 'random' and recovery == 'scratch-e' and scope == 'layerwise'")
    figure, grid = plt.subplots(1, len(methods), figsize=(2.9 * len(methods), 3.4), sharey=True)
    tables = []
    for method, axes in zip(methods, grid, strict=True):
        rows = toy[toy["method"] == method]
        lines = {ticket: rows[rows["ticket"] == ticket] for ticket in TICKETS}
        tables.append(over_sparsity(lines | {"random, from the start": random}, axes).assign(method=method))
        axes.set(title=method, ylabel="test error, %" if method == methods[0] else "")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    table = pd.concat(tables, ignore_index=True)
    means = table[table["sparsity"] == table["sparsity"].max()].pivot_table("mean", "method", "line")
    costs = 100 * (means["shuffled"] - means["original"])
    says = (
        f"With {1 - table['sparsity'].max():.0%} of the weights, shuffling a mask costs "
        f"{costs.min():.0f} to {costs.max():.0f} points"
    )
    about = (
        "Test error of networks pruned at initialisation: the mask as found, shuffled within each layer, and on new weights; "
        "mean and standard deviation over seeds, dense level dashed."
    )
    return titled(figure, says, about, table)
