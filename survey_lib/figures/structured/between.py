"""One matrix at each granularity between a weight and a filter."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from survey_lib.charts.export import Drawing
from survey_lib.charts.looks import PALETTE
from survey_lib.charts.schematic import EMPTY


def patterns() -> Drawing:
    """One matrix at half density, pruned by magnitude at five granularities."""
    weight = np.abs(np.random.default_rng(0).normal(size=(8, 16)))
    fours = weight.reshape(-1, 4)
    masks = {
        "weight": _largest(weight, 1, 1),
        "2:4": (fours >= np.sort(fours, axis=1)[:, 2:3]).reshape(weight.shape),
        "vector": _largest(weight, 1, 4),
        "block": _largest(weight, 2, 4),
        "filter": _largest(weight, 1, 16),
    }
    kept = {name: weight[mask].sum() / weight.sum() for name, mask in masks.items()}
    figure, grid = plt.subplots(1, len(masks), figsize=(10, 1.9))
    look = {"cmap": [EMPTY, PALETTE[0]], "cbar": False, "linewidths": 0.5, "square": True}
    for axes, (name, mask) in zip(grid, masks.items(), strict=True):
        sns.heatmap(mask, ax=axes, xticklabels=False, yticklabels=False, **look)
        axes.set_title(f"{name}: {kept[name]:.0%}")
    data = pd.DataFrame(kept.items(), columns=["granularity", "magnitude_kept"])
    return Drawing(figure, "The coarser the unit, the less magnitude is kept at the same density", data)


def _largest(weight: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Keep the half of the blocks of rows x columns whose magnitudes sum highest."""
    sums = weight.reshape(len(weight) // rows, rows, -1, columns).sum((1, 3))
    return np.kron(sums > np.median(sums), np.ones((rows, columns), dtype=bool))
