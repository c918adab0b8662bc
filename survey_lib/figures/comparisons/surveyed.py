"""Figures drawn from the literature data: what papers report, not what we measured."""

import matplotlib.pyplot as plt
import seaborn as sns

from survey_lib.analysis import literature
from survey_lib.charts.export import Drawing
from survey_lib.charts.looks import DENSE, GREY, MARKERS, PALETTE
from survey_lib.charts.plots import scale


def published_baselines() -> Drawing:
    """Each dense accuracy that some source prints for the same network on the same data."""
    spread = literature.baselines().head(10)
    names = [f"{row.model}, {row.dataset} ({row.lowest:g})" for row in spread.itertuples()]
    printed = literature.published().query("metric == 'top1 %'").merge(spread.assign(network=names))
    printed = printed.eval("above = baseline_metric - lowest").drop_duplicates(["network", "above"])
    figure, axes = plt.subplots(figsize=(5.6, 3.6))
    look = {"color": PALETTE[0], "alpha": 0.6, "size": 6, "jitter": False}
    sns.stripplot(printed, x="above", y="network", order=names, ax=axes, **look)
    axes.hlines(names, 0, spread["spread"], color=GREY, linewidth=1)
    axes.set(xlabel="points above the lowest reported accuracy (in brackets)", ylabel="")
    says = f"One network, dense accuracies up to {spread['spread'].max():.1f} points apart"
    return Drawing(figure, says, spread)


def published_changes() -> Drawing:
    """Authors' own claims on one network: accuracy change against the share of MACs removed."""
    points = literature.overlay("CIFAR-10", "ResNet-56").dropna(subset=["speedup_theoretical", "delta"])
    figure, axes = plt.subplots(figsize=(5.6, 4.6))
    for place, (method, rows) in enumerate(points.groupby("method")):
        look = {"color": PALETTE[place % len(PALETTE)], "marker": MARKERS[place]}
        axes.plot(rows["speedup_theoretical"], rows["delta"] * 100, linestyle="", label=method, **look)
    axes.axhline(0, color=DENSE, linestyle="--", linewidth=1)
    scale(axes, "speedup_theoretical")
    axes.set_ylabel("change of accuracy, points")
    figure.legend(loc="outside lower center", ncols=2)
    says = f"{(points['delta'] >= 0).sum()} of {len(points)} authors' claims report no loss"
    ends = points["dense_accuracy"].agg(["min", "max"])
    return Drawing(figure, says, points, {"low": ends["min"], "high": ends["max"]})
