"""Drawings of filters and of what criteria do with them."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from survey_lib.charts.export import Drawing
from survey_lib.charts.looks import DENSE, GREY, PALETTE
from survey_lib.charts.plots import logarithm

SHARE = 0.3  # of the filters: at larger shares the networks as cut are all close to chance
STAGES = {
    "pruned_accuracy": "as cut",
    "recalibrated_accuracy": "batch norm measured again",
    "accuracy": "after recovery",
}
SCOPES = {"layerwise": "the same share of every layer", "global": "ranked over the network"}


def criteria(frame: pd.DataFrame) -> Drawing:
    """Test error of every filter criterion: as cut, with batch norm measured again, and after recovery.

    Criteria that rank filters within each layer stand above those that rank the whole network.
    """
    runs = frame[(frame["category"] == "filter") & (frame["sparsity"] == SHARE)]
    runs = runs.assign(method=runs["method"].str.partition(" ")[0])  # one setting each at this share
    error = 1 - runs.groupby(["scope", "method"])[list(STAGES)].mean()
    error = error.sort_values(["scope", "recalibrated_accuracy"], ascending=[False, True])
    figure, axes = plt.subplots(figsize=(5.6, 4.4))
    _rows(runs, error, axes)
    axes.axvline(1 - runs["dense_accuracy"].mean(), color=DENSE, linestyle="--", linewidth=1, label="dense")
    logarithm(axes, "x", "%")
    axes.set_xlabel("test error")
    figure.legend(loc="outside lower center", ncols=2)
    cut, measured, recovered = 100 * (error.max() - error.min())
    says = (
        f"Criteria are {cut:.0f} points apart as cut, {measured:.0f} with batch norm measured again, "
        f"{recovered:.1f} after recovery"
    )
    about = {
        "model": runs["model"].iloc[0],
        "data": runs["data"].iloc[0],
        "share": SHARE,
        "seeds": runs["seed"].nunique(),
    }
    return Drawing(figure, says, error.rename(columns=STAGES).reset_index(), about)


def _rows(runs: pd.DataFrame, error: pd.DataFrame, axes: Axes) -> None:
    """A row a criterion, with a mark for the mean of each stage and small dots for its seeds."""
    scopes, methods = (error.index.get_level_values(name) for name in ("scope", "method"))
    at = pd.Series(-np.arange(len(error)) - 0.7 * (scopes == "global"), methods)
    axes.hlines(at, error.min(axis=1), error.max(axis=1), color=GREY, linewidth=1, zorder=1)
    for (stage, label), marker, colour in zip(STAGES.items(), "osD", PALETTE, strict=False):
        axes.scatter(1 - runs[stage], runs["method"].map(at), s=6, color=colour, alpha=0.35)
        axes.plot(error[stage], at, marker, color=colour, label=label)
    for scope in scopes.unique():
        where = (0.99, at[scopes == scope].max() + 0.45)
        axes.text(
            *where, SCOPES[scope], transform=axes.get_yaxis_transform(), ha="right", va="center", fontsize=7
        )
    axes.set_yticks(at, methods)


def sorted_maps(maps: np.ndarray, scores: Mapping[str, np.ndarray], removed: int) -> Figure:
    """Feature maps, two rows a criterion, lowest score first and the removed ones framed.

    All maps share one scale, so that a weak one looks weak.

    Parameters
    ----------
    maps : np.ndarray
        Feature maps (filters, height, width).
    scores : Mapping[str, np.ndarray]
        Criterion -> (filters,).
    removed : int
        How many of the lowest are framed.
    """
    width = -(-len(maps) // 2)
    size = (0.75 * width + 0.8, 1.9 * len(scores))
    figure, grid = plt.subplots(2 * len(scores), width, figsize=size, squeeze=False)
    for row, (name, score) in zip(grid.reshape(len(scores), 2 * width), scores.items(), strict=True):
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for place, (axes, index) in enumerate(zip(row, np.argsort(score, kind="stable"), strict=False)):
            axes.imshow(maps[index], cmap="cividis", vmin=0, vmax=np.quantile(maps, 0.995))
            axes.set_xlabel(str(index), labelpad=1)
            axes.spines[:].set(visible=place < removed, color=PALETTE[1], linewidth=2.5)
    _ = [axes.set(xticks=[], yticks=[]) for axes in grid.flat]
    return figure
