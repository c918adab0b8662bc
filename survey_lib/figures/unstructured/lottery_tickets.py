"""Figures of masks and tickets over sparsity, with their controls: shuffled, on new weights, random."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter

from survey_lib.charts.export import Drawing
from survey_lib.charts.plots import DENSE, GREY, MARKERS, PALETTE, band, dense_line, headline, note_n

LOOKS = {
    "original": {"color": PALETTE[0], "marker": "o"},
    "shuffled": {"color": PALETTE[1], "marker": "s"},
    "reinitialised": {"color": PALETTE[2], "marker": "^"},
    "magnitude": {"color": DENSE, "marker": "D", "linestyle": ":"},
    "random": {"color": GREY, "marker": "x"},
}
TICKETS = ("original", "shuffled", "reinitialised")
SPARE = [{"color": PALETTE[i], "marker": MARKERS[i]} for i in (3, 4, 5, 6, 0, 1, 2)]


def look(names: list[str]) -> dict[str, dict]:
    """A look for each line: tickets and baselines always have their own (by the first word), others get what is left.

    Examples
    --------
    >>> look(["random, from the start"])["random, from the start"]["color"]
    '#999999'
    """
    others = [name for name in names if name.replace(",", " ").split()[0] not in LOOKS]
    spare = dict(zip(others, SPARE, strict=False))
    return {name: spare.get(name) or LOOKS[name.replace(",", " ").split()[0]] for name in names}


def over_sparsity(lines: Mapping[str, pd.DataFrame], axes: Axes) -> pd.DataFrame:
    """Test error over the kept share, one line with its band a name.

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
    for name, style in look(list(lines)).items():
        runs = lines[name].assign(kept=1 - lines[name]["sparsity"], error=1 - lines[name]["accuracy"])
        band(runs, axes, "kept", "error", label=name, **style)
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


def sanity(frame: pd.DataFrame, methods: list[str]) -> tuple[Figure, pd.DataFrame]:
    """Original, shuffled and reinitialised masks of each method, one panel a method.

    Random from the start is behind.

    Parameters
    ----------
    frame : pd.DataFrame
        Runs of one data set and model with columns method, ticket, recovery.
    methods : list[str]
        One a panel.

    Returns
    -------
    tuple[Figure, pd.DataFrame]
        The figure, and what was drawn.
    """
    figure, grid = plt.subplots(
        1, len(methods), figsize=(2.9 * len(methods), 3.4), sharey=True, squeeze=False
    )
    behind = frame[frame["method"].str.startswith("random") & (frame["recovery"] == "scratch-e")]
    behind = behind[behind["scope"] == "layerwise"]
    tables = []
    for method, axes in zip(methods, grid.flat, strict=True):
        rows = frame[frame["method"].str.partition(" ")[0] == method]
        lines = {
            ticket: rows[rows["ticket"] == ticket] for ticket in TICKETS if ticket in set(rows["ticket"])
        }
        lines |= {"random, from the start": behind} if len(behind) else {}
        tables.append(over_sparsity(lines, axes).assign(method=method))
        axes.set(title=method, ylabel="test error, %" if method == methods[0] else "")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure, pd.concat(tables, ignore_index=True)


def winning(frame: pd.DataFrame) -> Drawing:
    """Winning tickets, their masks shuffled and with new weights, over sparsity: the figure of notebook 05."""
    frame = frame[frame["data"] == frame["data"].mode().iloc[0]]
    imp = frame[(frame["method"].str.split(" ").str[0] == "imp") & (frame["recovery"] == "rewind")]
    # The sweep of rewind points is another figure
    imp = imp[imp["rewind_epoch"] == imp["rewind_epoch"].mode().iloc[0]]
    lines = {ticket: imp[imp["ticket"] == ticket] for ticket in TICKETS if ticket in set(imp["ticket"])}
    figure, axes = plt.subplots(figsize=(6.4, 3.7))
    table = over_sparsity(lines, axes)
    axes.legend()
    end = lines["shuffled"]["sparsity"].max()  # the rounds go on without controls
    last = table[table["sparsity"] == end].set_index("line")["mean"]
    text = (
        f"With {1 - end:.0%} of the weights the ticket gets {last['original']:.1%} wrong, "
        f"its mask on new weights {last['reinitialised']:.1%}, shuffled {last['shuffled']:.1%}"
    )
    headline(figure, text)
    caption = (
        "Test error of tickets of iterative magnitude pruning with rewinding, of the same masks shuffled in each layer, "
        f"and of the same masks on new weights; mean and standard deviation over seeds, dense level dashed. {text}."
    )
    return Drawing(figure, caption, f"{len(lines)} lines over the kept share of the weights. {text}.", table)


def early(frame: pd.DataFrame) -> Drawing:
    """Masks found before training, as found, shuffled and on new weights: the figure of notebook 04."""
    toy = frame[frame["data"] == frame["data"].mode().iloc[0]]
    methods = sorted(set(toy.loc[toy["ticket"] == "shuffled", "method"].str.split(" ").str[0]))
    figure, table = sanity(toy, methods)
    means = table[table["sparsity"] == table["sparsity"].max()].pivot_table("mean", "method", "line")
    costs = 100 * (means["shuffled"] - means["original"])
    text = (
        f"With {1 - table['sparsity'].max():.0%} of the weights, shuffling a mask costs "
        f"{costs.min():.0f} to {costs.max():.0f} points"
    )
    headline(figure, text)
    caption = (
        "Test error of networks pruned at initialisation: the mask as found, shuffled within each layer, and on new weights; "
        f"mean and standard deviation over seeds, dense level dashed. {text}."
    )
    return Drawing(
        figure, caption, f"{len(methods)} panels, a method each, over the kept share. {text}.", table
    )
