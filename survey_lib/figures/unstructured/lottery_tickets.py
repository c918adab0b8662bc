"""Drawings of sparse networks trained from an early point: tickets over sparsity, rewind points, overlap of masks."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from survey_lib.analysis.statistics import interval
from survey_lib.charts.export import Drawing
from survey_lib.charts.plots import DENSE, GREY, MARKERS, PALETTE, dense_line, headline, note_n

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

    >>> look(["random, from the start"])["random, from the start"]["color"]
    '#999999'
    """
    others = [name for name in names if name.replace(",", " ").split()[0] not in LOOKS]
    spare = dict(zip(others, SPARE, strict=False))
    return {name: spare.get(name) or LOOKS[name.replace(",", " ").split()[0]] for name in names}


def over_sparsity(lines: Mapping[str, pd.DataFrame], axes: Axes, metric: str = "accuracy") -> pd.DataFrame:
    """One line with its band for each name -> runs, over the kept share on a logarithm; returns what was drawn.

    Runs hold sparsity, seed, dense_accuracy and the metric; the dense level is dashed, n stands in the corner.
    """
    tables = []
    for name, style in look(list(lines)).items():
        rows = lines[name].groupby("sparsity")[metric].agg(["mean", "std", "count"]).fillna({"std": 0.0})
        kept = 1 - rows.index.to_numpy()
        axes.plot(kept, rows["mean"], label=name, **style)
        axes.fill_between(kept, rows["mean"] - rows["std"], rows["mean"] + rows["std"], color=style["color"],
                          alpha=0.15, linewidth=0)  # fmt: skip
        tables.append(rows.rename(columns={"count": "n"}).reset_index().assign(line=name))
    dense_line(pd.concat(lines.values()), axes)
    table = pd.concat(tables, ignore_index=True)
    kept_axis(axes, sorted(table["sparsity"].unique()))
    axes.set_ylabel("test accuracy" if metric == "accuracy" else metric)
    note_n(axes, table["n"])
    return table


def kept_axis(axes: Axes, sparsities: list[float]) -> None:
    """The kept share on a logarithm, much kept on the left, with the sparsities that were run as ticks."""
    kept = [1 - sparsity for sparsity in sparsities]
    axes.set_xscale("log")
    axes.set_xlim(max(kept) * 1.2, min(kept) / 1.2)
    axes.set_xticks(kept, [f"{100 * share:.3g}" for share in kept])
    axes.minorticks_off()
    axes.set_xlabel("kept weights, %")


def sanity(frame: pd.DataFrame, methods: list[str]) -> tuple[Figure, pd.DataFrame]:
    """Original, shuffled and reinitialised masks of each method, one panel a method, random from the start behind.

    `frame`: runs of one data set and model with columns method, ticket, recovery; returns what was drawn too.
    """
    figure, grid = plt.subplots(1, len(methods), figsize=(2.9 * len(methods), 3.4), sharey=True, squeeze=False)
    behind = frame[frame["method"].str.startswith("random") & (frame["recovery"] == "scratch-e")]
    tables = []
    for method, axes in zip(methods, grid.flat, strict=True):
        rows = frame[frame["method"].str.partition(" ")[0] == method]
        lines = {ticket: rows[rows["ticket"] == ticket] for ticket in TICKETS if ticket in set(rows["ticket"])}
        lines |= {"random, from the start": behind} if len(behind) else {}
        tables.append(over_sparsity(lines, axes).assign(method=method))
        axes.set(title=method, ylabel="test accuracy" if method == methods[0] else "")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure, pd.concat(tables, ignore_index=True)


def winning(frame: pd.DataFrame) -> Drawing:
    """Winning tickets, their masks shuffled and with new weights, over sparsity: the figure of notebook 05."""
    frame = frame[frame["model"] == frame["model"].mode().iloc[0]]
    imp = frame[(frame["method"].str.split(" ").str[0] == "imp") & (frame["recovery"] == "rewind")]
    imp = imp[imp["rewind_epoch"] == imp["rewind_epoch"].mode().iloc[0]]  # the sweep of rewind points is another figure
    lines = {ticket: imp[imp["ticket"] == ticket] for ticket in TICKETS if ticket in set(imp["ticket"])}
    figure, axes = plt.subplots(figsize=(6.4, 3.7))
    table = over_sparsity(lines, axes)
    axes.legend()
    last = table[table["sparsity"] == table["sparsity"].max()].set_index("line")["mean"]
    text = f"With {1 - table['sparsity'].max():.0%} kept: " + ", ".join(f"{name} {value:.0%}" for name, value in last.items())
    headline(figure, text)
    caption = ("Test accuracy of tickets of iterative magnitude pruning with rewinding, of the same masks shuffled in each layer, "
               f"and of the same masks on new weights; mean and standard deviation over seeds, dense level dashed. {text}.")  # fmt: skip
    return Drawing(figure, caption, f"{len(lines)} lines over the kept share of the weights. {text}.", table)


def early(frame: pd.DataFrame) -> Drawing:
    """Masks found before training, as found, shuffled and on new weights: the figure of notebook 04."""
    toy = frame[frame["data"] == frame["data"].mode().iloc[0]]
    methods = sorted(set(toy.loc[toy["ticket"] == "shuffled", "method"].str.split(" ").str[0]))
    figure, table = sanity(toy, methods)
    means = table[table["sparsity"] == table["sparsity"].max()].pivot_table("mean", "method", "line")
    costs = 100 * (means["original"] - means["shuffled"])
    text = f"At {1 - table['sparsity'].max():.0%} kept, shuffling costs " + ", ".join(
        f"{name} {value:.0f}" for name, value in costs.items()) + " points"  # fmt: skip
    headline(figure, text)
    caption = ("Test accuracy of networks pruned at initialisation: the mask as found, shuffled within each layer, and on new weights; "
               f"mean and standard deviation over seeds, dense level dashed. {text}.")  # fmt: skip
    return Drawing(figure, caption, f"{len(methods)} panels, a method each, over the kept share. {text}.", table)


def rewind_points(frame: pd.DataFrame, axes: Axes) -> pd.DataFrame:
    """Accuracy against the epoch rewound to: a dot a seed, mean and 95 % interval; returns mean, std and n of each.

    `frame`: runs that differ in rewind_epoch and seed only.
    """
    table = frame.groupby("rewind_epoch")["accuracy"].agg(["mean", "std", "count"])
    margin = frame.groupby("rewind_epoch")["accuracy"].apply(lambda values: interval(values).high - values.mean())
    places = range(len(table))
    for place, (_, rows) in zip(places, frame.groupby("rewind_epoch"), strict=True):
        axes.plot([place] * len(rows), rows["accuracy"], ".", color=GREY, markersize=5)
    axes.errorbar(places, table["mean"], margin, color=PALETTE[0], marker="o", capsize=3)
    dense_line(frame, axes)
    axes.set_xticks(places, table.index)
    axes.set(xlabel="epoch that weights and learning rate go back to", ylabel="test accuracy")
    note_n(axes, table["count"])
    return table.rename(columns={"count": "n"}).reset_index()


def overlap(table: pd.DataFrame, axes: Axes) -> None:
    """Share of a ticket's weights that a second one keeps too, against the kept share; grey is chance.

    `table`: changed (what differs between the two), kept, shared, chance; one row a pair and round.
    """
    for number, (changed, rows) in enumerate(table.groupby("changed", sort=False)):
        mean = rows.groupby("kept")["shared"].mean()
        axes.plot(mean.index, mean, color=PALETTE[number], marker=MARKERS[number], label=changed)
        axes.plot(rows["kept"], rows["shared"], ".", color=PALETTE[number], markersize=4)
    chance = table.groupby("kept")["chance"].mean()
    axes.plot(chance.index, chance, color=GREY, marker="x", label="chance, at these layer densities")
    kept_axis(axes, [1 - kept for kept in chance.index])
    axes.set(ylim=(0, 1.02), ylabel="weights that both masks keep")
    axes.legend(loc="lower left")
