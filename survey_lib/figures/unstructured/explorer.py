"""One layer under one method at one sparsity: its mask, its weights, and what the whole network is left with."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from survey_lib.charts.plots import DENSE, GREY, LABELS, PALETTE, headline

BINS = 40


def explore(weight: np.ndarray, keep: np.ndarray, curve: pd.Series, dense: float, sparsity: float,
            title: str) -> tuple[Figure, pd.Series]:  # fmt: skip
    """Draw mask, histogram and accuracy side by side; returns the figure and the numbers it shows.

    weight, keep   (outputs, inputs) of the layer, and True where a weight stays
    curve          mean test accuracy of the whole network by sparsity, from the store; dense: its level
    The numbers: kept share of the layer, accuracy at the stored sparsity nearest to the one asked for.
    """
    figure, (picture, histogram, axes) = plt.subplots(1, 3, figsize=(9.5, 3), width_ratios=(1, 1.2, 1.2))
    picture.imshow(keep, aspect="auto", cmap="Greys", vmin=0, vmax=1, interpolation="nearest")
    picture.set(title="mask: black stays", xlabel="input", ylabel="output")
    picture.grid(False)
    parts = {"removed": weight[~keep], "kept": weight[keep]}
    histogram.hist(list(parts.values()), BINS, stacked=True, label=list(parts), color=[GREY, PALETTE[0]])
    histogram.set(title="weights of the layer", xlabel="weight", ylabel="count", yscale="log")
    histogram.legend()
    nearest = curve.index[np.abs(curve.index - sparsity).argmin()]
    axes.plot(curve.index, curve, marker="o", color=PALETTE[0])
    axes.plot(nearest, curve[nearest], marker="o", markersize=11, markerfacecolor="none", color=PALETTE[1])
    axes.axhline(dense, color=DENSE, linestyle="--", linewidth=1)
    axes.set(title="network, after recovery", xlabel=LABELS["sparsity"], ylabel=LABELS["accuracy"])
    shown = pd.Series({"kept share of the layer": keep.mean(), "stored sparsity": nearest, "accuracy": curve[nearest]})
    headline(figure, f"{title}: {keep.mean():.0%} of the layer stays; at sparsity {nearest:g} accuracy is {curve[nearest]:.1%}")
    return figure, shown
