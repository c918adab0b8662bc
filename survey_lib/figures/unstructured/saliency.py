"""Drawings of what removing weights costs: on a surface, and predicted against true."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from survey_lib.charts import plots
from survey_lib.charts.plots import DENSE, GREY, PALETTE


def surface(hessian: np.ndarray, weight: np.ndarray, axes: Axes) -> np.ndarray:
    """Contours of ½ δᵀHδ over two weights.

    Arrows: a weight set to zero (OBD) and with the other moved (OBS).

    Parameters
    ----------
    hessian : np.ndarray
        Hessian (2, 2).
    weight : np.ndarray
        Weights (2,).
    axes : Axes
        Where to draw.

    Returns
    -------
    np.ndarray
        The losses, rows OBD and OBS, columns the weight that goes.
    """
    reach = 1.3 * np.abs(weight).max()
    grid = np.stack(np.meshgrid(*[np.linspace(-0.4 * reach, 1.35 * reach, 150)] * 2), -1)
    loss = _quadratic(grid - weight, hessian)
    axes.contour(
        grid[..., 0],
        grid[..., 1],
        loss,
        np.quantile(loss, np.linspace(0, 1, 16) ** 2),
        colors=GREY,
        linewidths=0.7,
    )
    axes.plot(*weight, "o", color=DENSE)
    axes.annotate("trained", weight, xytext=(5, 5), textcoords="offset points", fontsize=8)
    inverse, losses = np.linalg.inv(hessian), np.zeros((2, 2))
    for gone in range(2):
        zeroed = np.where(np.arange(2) == gone, 0.0, weight)
        moved = weight - weight[gone] / inverse[gone, gone] * inverse[gone]
        for row, (end, colour, mark) in enumerate([(zeroed, PALETTE[1], "s"), (moved, PALETTE[0], "^")]):
            losses[row, gone] = _quadratic(end - weight, hessian)
            axes.annotate("", end, weight, arrowprops={"arrowstyle": "->", "color": colour, "linewidth": 1.4})
            axes.plot(
                *end,
                mark,
                color=colour,
                label=(None if gone else ("OBD: set to zero", "OBS: move the other too")[row]),
            )
            axes.annotate(
                f"{losses[row, gone]:.2f}",
                end,
                xytext=(5, 4),
                textcoords="offset points",
                fontsize=8,
                color=colour,
            )
    axes.axhline(0, color=DENSE, linewidth=0.8)
    axes.axvline(0, color=DENSE, linewidth=0.8)
    axes.set(xlabel="weight $w_1$", ylabel="weight $w_2$")
    axes.grid(False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2)
    return losses


def _quadratic(delta: np.ndarray, hessian: np.ndarray) -> np.ndarray:
    return 0.5 * np.einsum("...i,ij,...j", delta, hessian, delta)


def predictions(panels: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """Size of the true change of the loss against the predicted one, a panel each.

    `panels` is title -> (predicted, true), one value a removed weight. Both axes are logarithmic and shared; the dashed line is prediction = truth; Spearman's ρ stands in the
    title.
    """
    figure, grid = plt.subplots(
        1, len(panels), figsize=(2.4 * len(panels), 3), sharex=True, sharey=True, squeeze=False
    )
    for axes, (title, (predicted, true)) in zip(grid.flat, panels.items(), strict=True):
        true = np.abs(true)
        axes.plot(predicted, true, "o", color=PALETTE[0], markersize=2.5, alpha=0.4, markeredgewidth=0)
        axes.set(
            xscale="log", yscale="log", title=f"{title}: ρ = {stats.spearmanr(predicted, true).statistic:.1f}"
        )
        axes.axline((1e-6, 1e-6), (1e-5, 1e-5), color=DENSE, linewidth=0.9, linestyle="--")
    every = [np.abs(np.concatenate([pair[side] for pair in panels.values()])) for side in (0, 1)]
    low, high = (np.quantile([*every[0], *every[1]], [0.01, 1]) * [0.3, 3]).tolist()
    axes.set(xlim=(low, high), ylim=(low, high))
    figure.supxlabel("predicted change of the loss", fontsize=9)
    grid[0, 0].set_ylabel("true change, absolute")
    plots.note_n(axes, pd.Series([len(pair[0]) for pair in panels.values()]))
    return figure
