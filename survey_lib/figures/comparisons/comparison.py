"""Figures of accuracy against size, MACs and cost of training, and of differences at equal compression."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from survey_lib.analysis.equal_compression import against, mean_gap, on_front
from survey_lib.analysis.findings import finding, is_control, leaders, main_setting
from survey_lib.charts import plots
from survey_lib.charts.export import Drawing
from survey_lib.charts.intervals import intervals, names

KINDS = {
    "unstructured": {"color": plots.PALETTE[0], "marker": "o"},
    "semi-structured": {"color": plots.PALETTE[1], "marker": "s"},
    "structured": {"color": plots.PALETTE[2], "marker": "^"},
}
RATIOS = ("compression", "speedup_theoretical")


def panels(frame: pd.DataFrame) -> Drawing:
    """Accuracy against compression and against theoretical speed-up, the same methods in the same colours."""
    label, main = main_setting(frame)
    figure, grid = plt.subplots(1, 2, figsize=(9, 4.4), sharey=True)
    chosen = leaders(main)
    tables = [
        plots.curves(main, axes, x, chosen=chosen).assign(x_axis=x)
        for axes, x in zip(grid, RATIOS, strict=True)
    ]
    longer = main.loc[is_control(main), "accuracy"]
    for axes in grid if len(longer) else ():
        axes.axhline(
            longer.mean(), color=plots.DENSE, linestyle=":", linewidth=1, label="dense, trained longer"
        )
    grid[1].set_ylabel("")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    text = f"{finding(main)} ({label})"
    plots.headline(figure, text)
    caption = (
        f"Test accuracy against compression and theoretical speed-up on {label}; mean and standard deviation "
        f"over seeds; in colour the baselines and the best of each category, the rest pale; dotted: the dense "
        f"network with the recovery's training on top. {text}."
    )
    return Drawing(figure, caption, f"Two line charts. {text}.", pd.concat(tables, ignore_index=True))


def pareto(frame: pd.DataFrame) -> Drawing:
    """Every mean point; the filled ones are on the front of at least one seed, the line joins the mean front."""
    label, main = main_setting(frame)
    pruned = main[main["method"] != "dense"]
    figure, grid = plt.subplots(1, 2, figsize=(9, 4.4), sharey=True)
    tables = {x: _front(pruned, axes, x) for axes, x in zip(grid, RATIOS, strict=True)}
    grid[0].set_ylabel(plots.LABELS["accuracy"])
    handles, names = grid[0].get_legend_handles_labels()
    unique = dict(zip(names, handles, strict=True))
    figure.legend(unique.values(), unique.keys(), loc="outside lower center", ncols=4)
    always = {x: int((table["share"] == 1).sum()) for x, table in tables.items()}
    size, speed = (f"{always[x]} of {len(tables[x])}" for x in RATIOS)
    text = f"On the front with every seed: {size} points by compression, {speed} by theoretical speed-up"
    plots.headline(figure, text)
    caption = (
        f"Points that no other point beats in both accuracy and compression (left) or MACs (right), {label}. "
        f"Filled: on the front of at least one seed, the larger the more seeds. {text}."
    )
    data = pd.concat(tables, names=["x_axis"]).reset_index("x_axis")
    return Drawing(figure, caption, f"Two scatter charts with a stepped front. {text}.", data)


def _front(pruned: pd.DataFrame, axes: Axes, x: str) -> pd.DataFrame:
    seeds = pd.concat([rows.assign(share=on_front(rows, x)) for _, rows in pruned.groupby("seed")])
    groups = seeds.groupby(["structure", "method", "sparsity"])
    table = groups[[x, "accuracy", "share"]].mean().reset_index()
    for kind, rows in table.groupby("structure"):
        sizes = 15 + 50 * rows["share"]
        filled = np.where(rows["share"] > 0, KINDS[kind]["color"], "white")
        axes.scatter(
            rows[x],
            rows["accuracy"],
            s=sizes,
            marker=KINDS[kind]["marker"],
            c=filled,
            edgecolor=KINDS[kind]["color"],
            linewidth=0.8,
        )
        axes.plot([], [], linestyle="", label=kind, **KINDS[kind])
    best = table[on_front(table, x)].sort_values(x)
    axes.step(
        best[x], best["accuracy"], where="pre", color=plots.DENSE, linewidth=1, label="front of the means"
    )
    for _, row in best.drop_duplicates("method", keep="last").iterrows():
        axes.annotate(
            row["method"], (row[x], row["accuracy"]), xytext=(3, 6), textcoords="offset points", fontsize=7
        )
    plots.scale(axes, x)
    axes.set_xlim(table[x].min() / 1.2, table[x].max() * 2.2)  # room for the names
    plots.note_n(axes, groups["seed"].count())
    return table


def differences(frame: pd.DataFrame) -> Drawing:
    """Mean difference to magnitude and to random of the same unit at equal compression, paired by seed."""
    label, main = main_setting(frame)
    pruned = main[main["method"] != "dense"]
    magnitude = sorted(name for name in set(pruned["method"]) if name.startswith("magnitude"))[-1]
    tables = {
        magnitude: against(pruned, lambda kind: magnitude),
        "random of the same kind": against(
            pruned, lambda kind: "random-filter" if kind == "structured" else "random"
        ),
    }
    height = 0.27 * max(map(len, tables.values())) + 1.6
    figure, grid = plt.subplots(1, 2, figsize=(9, height))
    for axes, (reference, table) in zip(grid, tables.items(), strict=True):
        _intervals(axes, table, reference)
    above = [
        f"{((table['corrected'] < 0.05) & (table['mean'] > 0)).sum()} of {len(table)} better than {name}"
        for name, table in tables.items()
    ]
    text = f"At equal compression, after correction for many comparisons: {', '.join(above)}"
    plots.headline(figure, text)
    caption = (
        f"Mean accuracy difference over the compressions both methods cover, {label}; dots are seeds, bars "
        f"95 % intervals. {text}."
    )
    data = pd.concat(tables, names=["panel"]).reset_index("panel")
    return Drawing(figure, caption, f"Two interval charts. {text}.", data)


def _intervals(axes: Axes, table: pd.DataFrame, reference: str) -> None:
    """A row a method, the largest difference on top; colour and marker say its kind of structure."""
    table = table.sort_values("mean", ascending=False, ignore_index=True)
    for kind, rows in table.groupby("structure"):
        intervals(rows, axes, len(table) - 1 - rows.index, **KINDS[kind])
    names(table, table["method"], axes)
    axes.set(xlabel="accuracy difference, points", title=f"minus {reference}")
    plots.note_n(axes, table["n"])


def ledger(frame: pd.DataFrame) -> Drawing:
    """Training MACs of each method, split into training, looking at data to score, and recovery."""
    label, main = main_setting(frame)
    named = main.assign(method=main["method"].mask(is_control(main), "dense, trained longer"))
    means = named.groupby("method")[["training_macs", "pruning_macs", "recovery_macs"]].mean() / 1e12
    parts = pd.DataFrame(
        {
            "training": means["training_macs"] - means["pruning_macs"] - means["recovery_macs"],
            "scoring": means["pruning_macs"],
            "recovery": means["recovery_macs"],
        }
    ).loc[means["training_macs"].sort_values(ascending=False).index]
    figure, axes = plt.subplots(figsize=(6.4, 0.27 * len(parts) + 1.5))
    left = np.zeros(len(parts))
    for index, name in enumerate(parts):
        axes.barh(
            parts.index,
            parts[name],
            left=left,
            label=name,
            color=plots.PALETTE[index],
            hatch=plots.HATCHES[index],
            edgecolor="white",
            linewidth=0.3,
        )
        left += parts[name].to_numpy()
    axes.set_xlabel("MACs spent, in 10¹² (forward and backward = 3 forward passes)")
    figure.legend(loc="outside lower center", ncols=3)
    axes.grid(axis="y", visible=False)
    shares = parts.div(parts.sum(axis=1), axis=0).max()
    text = f"Of what a method spends, scoring is at most {shares['scoring']:.1%}, recovery up to {shares['recovery']:.0%}"
    plots.headline(figure, text)
    caption = f"MACs each method spends before it is done, mean over sparsities and seeds, {label}. {text}."
    return Drawing(figure, caption, caption, parts.reset_index())


def equal_sparsity(frame: pd.DataFrame) -> Drawing:
    """Magnitude and l1-filter, once over sparsity and once over compression: the same runs."""
    label, main = main_setting(frame)
    weights = sorted(name for name in set(main["method"]) if name.startswith("magnitude"))[-1]
    figure, grid = plt.subplots(1, 2, figsize=(9, 4), sharey=True)
    gaps = {}
    for axes, x, title in zip(grid, ("sparsity", "compression"), ("misleading", "fair in size"), strict=True):
        plots.curves(main, axes, x, chosen=[weights, "l1-filter"])
        axes.set_title(title)
        gaps[x] = mean_gap(main, "l1-filter", weights, x).mean() * 100
    grid[1].set_ylabel("")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    text = (
        f"l1-filter minus {weights}: {gaps['sparsity']:+.1f} points at equal sparsity, "
        f"{gaps['compression']:+.1f} at equal compression"
    )
    plots.headline(figure, text)
    caption = f"The same runs over sparsity and over compression, {label}; other methods pale. {text}."
    data = pd.DataFrame({"at equal": list(gaps), "gap_points": list(gaps.values())})
    return Drawing(figure, caption, f"Two line charts. {text}.", data)
