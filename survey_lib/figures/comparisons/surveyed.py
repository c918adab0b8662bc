"""Figures drawn from the literature data: what papers report, not what we measured."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from survey_lib.analysis import literature
from survey_lib.charts.export import Drawing
from survey_lib.charts.plots import DENSE, GREY, HATCHES, MARKERS, PALETTE, headline, scale


def published_baselines() -> Drawing:
    """Each dense accuracy that some source prints for the same network on the same data."""
    spread = literature.baselines().head(10)
    table = literature.published().query("metric == 'top1 %'")
    figure, axes = plt.subplots(figsize=(5.6, 3.6))
    for row, pair in enumerate(spread.itertuples()):
        same = (table["dataset"] == pair.dataset) & (table["model"] == pair.model)
        values = table.loc[same, "baseline_metric"].dropna().unique() - pair.lowest
        axes.plot([0, pair.spread], [row, row], color=GREY, linewidth=1)
        axes.plot(values, np.full(len(values), row), "o", color=PALETTE[0], alpha=0.6)
    labels = [f"{pair.model}, {pair.dataset} ({pair.lowest:g})" for pair in spread.itertuples()]
    axes.set_yticks(range(len(spread)), labels)
    axes.invert_yaxis()
    axes.set_xlabel("points above the lowest reported accuracy (in brackets)")
    text = f"One network, dense accuracies up to {spread['spread'].max():.1f} points apart"
    headline(figure, text)
    caption = f"Dense accuracies that different sources report for the same network on the same data. {text}."
    return Drawing(figure, caption, caption, spread)


def published_changes(dataset: str = "CIFAR-10", model: str = "ResNet-56") -> Drawing:
    """Authors' own claims on one network: accuracy change against the share of MACs removed.

    Parameters
    ----------
    dataset : str, default 'CIFAR-10'
        As in the literature data.
    model : str, default 'ResNet-56'
        As in the literature data.
    """
    points = literature.overlay(dataset, model).dropna(subset=["speedup_theoretical", "delta"])
    figure, axes = plt.subplots(figsize=(5.6, 4.6))
    for index, (method, rows) in enumerate(points.groupby("method")):
        axes.plot(
            rows["speedup_theoretical"],
            rows["delta"] * 100,
            linestyle="",
            label=method,
            marker=MARKERS[index % len(MARKERS)],
            color=PALETTE[index % len(PALETTE)],
        )
    axes.axhline(0, color=DENSE, linestyle="--", linewidth=1)
    scale(axes, "speedup_theoretical")
    axes.set_ylabel("change of accuracy, points")
    figure.legend(loc="outside lower center", ncols=2)
    gains = int((points["delta"] >= 0).sum())
    text = f"{gains} of {len(points)} authors' claims report no loss"
    headline(figure, text)
    low, high = points["dense_accuracy"].min(), points["dense_accuracy"].max()
    level = f"their dense baselines run from {low:.2%} to {high:.2%}"
    caption = f"Authors' own numbers for {model} on {dataset}; {level}. {text}."
    return Drawing(figure, caption, caption, points)


def papers_by_year() -> Drawing:
    """Papers of the catalogue by year and granularity."""
    table = literature.papers().query("kind == 'method' and year >= 2015")
    common = table["granularity"].value_counts().head(len(PALETTE) - 1).index
    table = table.assign(granularity=table["granularity"].where(table["granularity"].isin(common), "other"))
    counts = table.pivot_table(
        index="year", columns="granularity", values="title", aggfunc="count", fill_value=0
    )
    counts = counts[counts.sum().sort_values(ascending=False).index]
    figure, axes = plt.subplots(figsize=(5.6, 3.6))
    bottom = np.zeros(len(counts))
    for index, name in enumerate(counts):
        axes.bar(
            counts.index,
            counts[name],
            bottom=bottom,
            label=name,
            color=PALETTE[index],
            hatch=HATCHES[index],
            edgecolor="white",
            linewidth=0.3,
        )
        bottom += counts[name].to_numpy()
    axes.set(xlabel="year", ylabel="methods in the catalogue")
    axes.legend()
    lead, count = counts.columns[0], int(counts.iloc[:, 0].sum())
    text = f"The {lead} is the commonest unit: {count} of {len(table)} methods"
    headline(figure, text)
    caption = (
        f"Methods of the literature catalogue by year and granularity: our selection, not a census. {text}."
    )
    return Drawing(figure, caption, caption, counts.reset_index())
