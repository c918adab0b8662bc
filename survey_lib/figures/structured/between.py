"""Drawings of units between a weight and a filter: accuracy, index cost and storage by granularity."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from survey_lib.analysis.statistics import at_compression
from survey_lib.charts import plots
from survey_lib.charts.export import Drawing

# method -> (what a unit is, weights in it for 3×3 kernels, bits of index for each kept weight)
GRAINS = {
    "magnitude": ("weight", "1", "32"), "nm-magnitude": ("n of m weights", "1", "2 to 4"),
    "vector": ("row of a kernel", "3", "11"), "kernel": ("kernel", "9", "3.6"),
    "block": ("block of 4 kernels", "36", "0.9"), "l1-filter": ("filter", "9 · inputs", "0"),
}  # fmt: skip
NAMED = ("2:4", "1:4", "1:8", "1:16")  # the N:M patterns of one curve; 4:8 has the sparsity of 2:4
STAGES = {"pruned_accuracy": "right after pruning", "accuracy": "after fine-tuning"}


def one_recipe(frame: pd.DataFrame, data: str = "digits") -> pd.DataFrame:
    """The fine-tuned runs of one data set with its dense runs; methods under their catalogue names.

    N:M patterns make one curve of four sparsities; those beside it and methods that live in training are left out.
    """
    runs = frame[frame["data"] == data].assign(method=frame["method"].str.partition(" (")[0])
    dense = runs["method"] == "dense"
    tuned = (runs["recovery"] == "finetune") & (runs["when"] != "during")
    beside = (runs["method"] == "nm-magnitude") & ~runs["pattern"].isin(NAMED)
    return runs[(dense & (runs["recovery"] == "none")) | (~dense & tuned & ~beside)]


def common(runs: pd.DataFrame) -> float:
    """The compression to compare at: the least that a mask of 75 % gives, or less if some method does not get there.

    Never between 75 % and the next sparsity, where a pattern may empty a layer: interpolation would mix the two.
    """
    masks = runs[np.isclose(runs["sparsity"], 0.75) & ~runs["method"].str.contains("filter")]
    return float(min(masks.groupby("method")["compression"].mean().min(), at_compression(runs).name))


def by_seed(runs: pd.DataFrame, ratio: float) -> pd.DataFrame:
    """Accuracy of each method, seed and stage at one compression, interpolated on its logarithm."""
    parts = [
        at_compression(rows, ratio, stage).rename("accuracy").rename_axis("method").reset_index().assign(stage=stage, seed=seed)
        for seed, rows in runs[runs["method"] != "dense"].groupby("seed")
        for stage in STAGES
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def curves(frame: pd.DataFrame) -> Drawing:
    """Accuracy against compression, a line a granularity, right after pruning and after fine-tuning."""
    runs = one_recipe(frame)
    figure, grid = plt.subplots(1, 2, figsize=(8.6, 3.8), sharey=True)
    tables = []
    for axes, (metric, title) in zip(grid, STAGES.items(), strict=True):
        tables.append(plots.curves(runs, axes, metric=metric).assign(stage=title))
        axes.set(title=title, ylabel="")
    grid[0].set_ylabel(plots.LABELS["accuracy"])
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    text = _spans(runs)
    plots.headline(figure, text)
    caption = (
        "Test accuracy of ResNet-8 on digits against compression for units from single weights to filters, one recipe; "
        f"mean and standard deviation over seeds, dense level dashed, random grey. {text}."
    )
    return Drawing(figure, caption, f"Two line charts. {text}.", pd.concat(tables, ignore_index=True))


def _spans(runs: pd.DataFrame) -> str:
    ratio = common(runs)
    table = by_seed(runs[runs["method"].isin([*GRAINS])], ratio).groupby(["stage", "method"])["accuracy"].mean()
    before, after = (100 * (table[stage].max() - table[stage].min()) for stage in STAGES)
    return f"At {ratio:.1f}× granularities lie {before:.0f} points apart after the cut, {after:.1f} after fine-tuning"


def ladder(frame: pd.DataFrame) -> Drawing:
    """Accuracy at one compression from the finest to the coarsest unit, with the index each of them needs."""
    runs = one_recipe(frame)
    ratio = common(runs)
    table = by_seed(runs, ratio)
    names = [name for name in GRAINS if name in set(table["method"])]
    figure, axes = plt.subplots(figsize=(7.2, 3.8))
    for (stage, label), colour, marker in zip(STAGES.items(), plots.PALETTE[1::-1], "so", strict=True):
        rows = table[(table["stage"] == stage) & table["method"].isin(names)]
        axes.plot(rows["method"].map(names.index), rows["accuracy"], marker, color=colour, alpha=0.35, markersize=4)
        means = rows.groupby("method")["accuracy"].mean()[names]
        axes.plot(range(len(names)), means, marker=marker, color=colour, label=label)
    random = table[table["stage"].eq("accuracy") & table["method"].str.startswith("random")]
    for name, rows in random.groupby("method"):
        place = len(names) - 1 if name == "random-filter" else 0
        label = "random, after fine-tuning" if place == 0 else None
        axes.plot(place, rows["accuracy"].mean(), "x", color=plots.GREY, markersize=7, linestyle="", label=label)
    plots.dense_line(runs, axes)
    texts = [f"{name}\n{count} weight{'s' if count != '1' else ''}\n{bits} bit" for name, count, bits in map(GRAINS.get, names)]
    axes.set_xticks(range(len(names)), texts, fontsize=7)
    axes.set_ylabel(plots.LABELS["accuracy"])
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    plots.note_n(axes, table.groupby(["method", "stage"])["seed"].nunique())
    text = _price(table, names, ratio)
    plots.headline(figure, text)
    caption = (
        f"Test accuracy of ResNet-8 on digits at {ratio:.2f}× compression by unit; below each its size for 3×3 kernels "
        f"and the index bits for each kept weight (32-bit indices; 2:4 to 1:16). Small marks: seeds. {text}."
    )
    return Drawing(figure, caption, f"Line chart over {len(names)} units. {text}.", table)


def _price(table: pd.DataFrame, names: list[str], ratio: float) -> str:
    means = table[table["stage"] == "accuracy"].groupby("method")["accuracy"].mean()
    lost = 100 * (means[names[0]] - means[names[-1]])
    middle = means[[n for n in names[1:-1]]]
    return (f"At {ratio:.1f}× against single weights: filters {-lost:+.1f} points, "
            f"best between them {GRAINS[middle.idxmax()][0]}, {100 * (middle.max() - means[names[0]]):+.1f}")  # fmt: skip


def storage(table: pd.DataFrame, breaks: dict[str, float], axes: Axes) -> None:
    """Bytes over dense bytes against sparsity, a line a format; a dot where it starts to pay.

    `table`: sparsity index, a column a format (relative bytes). `breaks`: format -> break-even sparsity.
    """
    for number, name in enumerate(table.columns):
        colour = plots.PALETTE[number % len(plots.PALETTE)]
        rows = table[name].dropna()
        marker = "*" if len(rows) == 1 else ""
        axes.plot(rows.index, rows, marker=marker, markersize=11, color=colour, label=name, linestyle=["-", "--", ":"][number % 3])
        if name in breaks:
            axes.plot(breaks[name], 1, "o", color=colour)
            axes.annotate(f"{breaks[name]:.2f}", (breaks[name], 1), (3, 5), textcoords="offset points", fontsize=7)
    axes.axhline(1, color=plots.DENSE, linestyle="--", linewidth=1)
    axes.set(xlabel=plots.LABELS["sparsity"], ylabel="bytes / dense bytes", ylim=(0, 1.6))


def kept_magnitude(table: pd.DataFrame, axes: Axes) -> None:
    """Share of the magnitude that half the units hold, a row a unit; `table`: unit index, a column a set of weights."""
    for number, name in enumerate(table.columns):
        axes.plot(table[name], range(len(table)), plots.MARKERS[number], color=plots.PALETTE[number], label=name,
                  markersize=8 - 3 * number)  # fmt: skip
    axes.set_yticks(range(len(table)), table.index)
    axes.set(ylim=(len(table) - 0.5, -0.5), xlim=(0.45, 0.85), xlabel="share of the magnitude kept with half the weights")
    axes.legend(loc="lower right")
