"""Figures drawn from the literature data: what papers report, not what we measured."""

import matplotlib.pyplot as plt
import numpy as np

from survey_lib.analysis import literature
from survey_lib.charts.export import Drawing, titled
from survey_lib.charts.looks import DENSE, GREY, MARKERS, PALETTE
from survey_lib.charts.plots import scale

DATA, NETWORK = "CIFAR-10", "ResNet-56"


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
    about = "Dense accuracies that different sources report for the same network on the same data."
    says = f"One network, dense accuracies up to {spread['spread'].max():.1f} points apart"
    return titled(figure, says, about, spread)


def published_changes() -> Drawing:
    """Authors' own claims on one network: accuracy change against the share of MACs removed."""
    points = literature.overlay(DATA, NETWORK).dropna(subset=["speedup_theoretical", "delta"])
    figure, axes = plt.subplots(figsize=(5.6, 4.6))
    for index, (method, rows) in enumerate(points.groupby("method")):
        look = {"color": PALETTE[index % len(PALETTE)], "marker": MARKERS[index % len(MARKERS)]}
        axes.plot(rows["speedup_theoretical"], rows["delta"] * 100, linestyle="", label=method, **look)
    axes.axhline(0, color=DENSE, linestyle="--", linewidth=1)
    scale(axes, "speedup_theoretical")
    axes.set_ylabel("change of accuracy, points")
    figure.legend(loc="outside lower center", ncols=2)
    low, high = points["dense_accuracy"].min(), points["dense_accuracy"].max()
    about = f"Authors' own numbers for {NETWORK} on {DATA}; their dense baselines run from {low:.2%} to {high:.2%}."
    says = f"{(points['delta'] >= 0).sum()} of {len(points)} authors' claims report no loss"
    return titled(figure, says, about, points)
