"""Drawings of how much a trained network can lose unnoticed, as a whole and layer by layer."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from survey_lib.charts import plots
from survey_lib.charts.export import Drawing
from survey_lib.charts.plots import DENSE, MARKERS, PALETTE

NOTICED = 0.01  # a loss of accuracy that we call noticed


def magnitudes(weights: Mapping[str, np.ndarray]) -> Figure:
    """Sorted magnitudes relative to the largest, and the share of Σ|w| that the largest hold, one line a name."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.4))
    for number, (name, weight) in enumerate(weights.items()):
        size = np.sort(np.abs(weight).ravel())[::-1]
        share = np.arange(1, len(size) + 1) / len(size)
        style = {"color": PALETTE[number], "marker": MARKERS[number], "markevery": 0.2, "markersize": 4}
        left.plot(share, size / size[0], label=name, **style)
        right.plot(share, np.cumsum(size) / size.sum(), **style)
    right.plot([0, 1], [0, 1], color=DENSE, linestyle="--", linewidth=1, label="all weights equal")
    left.set(
        xlabel="share of the weights, largest first",
        ylabel="magnitude / largest",
        yscale="log",
        ylim=(1e-4, 1.5),
    )
    right.set(xlabel="share of the weights, largest first", ylabel="share of the sum of magnitudes")
    handles = [*left.get_legend_handles_labels()[0], right.lines[-1]]
    figure.legend(handles, [handle.get_label() for handle in handles], loc="outside lower center", ncols=3)
    return figure


def tolerance(runs: pd.DataFrame, noticed: float = NOTICED) -> float:
    """The sparsity at which the mean accuracy has fallen by `noticed`, between the runs by a straight line.

    `runs` of one method at several sparsities; sparsity 0 loses nothing. The largest sparsity run if nothing is noticed.

    >>> tolerance(pd.DataFrame({"sparsity": [0.5, 0.9], "accuracy": [0.9, 0.7], "dense_accuracy": 0.9}), 0.1).__round__(2)
    0.7
    """
    lost = (runs["dense_accuracy"] - runs["accuracy"]).groupby(runs["sparsity"]).mean()
    lost = pd.concat([pd.Series({0.0: 0.0}), lost]).groupby(level=0).mean()
    over = np.flatnonzero(lost.to_numpy() > noticed)
    if not len(over):
        return float(lost.index[-1])
    (x0, x1), (y0, y1) = (
        values[over[0] - 1 : over[0] + 1] for values in (lost.index.to_numpy(), lost.to_numpy())
    )
    return float(x0 + (noticed - y0) / (y1 - y0) * (x1 - x0))


def layer_runs(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs that prune one layer, of the pair of data and model that has the most of them."""
    found = frame[frame["layer"].notna() & (frame["method"] != "dense")]
    found = found.assign(
        method=found["method"].str.partition(" ")[0]
    )  # `tables.distinct` names layers in the method
    pair = found.groupby(["data", "model"]).size().idxmax()
    return found[(found["data"] == pair[0]) & (found["model"] == pair[1])].reset_index(drop=True)


def tolerances(frame: pd.DataFrame) -> pd.Series:
    """Tolerance to magnitude pruning of each layer of `layer_runs`, in name order, the classifier last."""
    runs = layer_runs(frame).query("method == 'magnitude'")
    found = {layer: tolerance(rows) for layer, rows in runs.groupby("layer")}
    order = sorted(found, key=lambda layer: (layer.startswith(("fc", "classifier")), layer))
    return pd.Series(found, name="tolerance").loc[order].rename_axis("layer")


def sensitivity(frame: pd.DataFrame) -> Drawing:
    """Accuracy against the sparsity of one layer: a small panel a layer, beside a heat map of the accuracy lost."""
    runs = layer_runs(frame)
    layers = list(tolerances(frame).index)
    table = runs.groupby(["method", "layer", "sparsity"], as_index=False).agg(
        accuracy=("accuracy", "mean"), std=("accuracy", "std"), dense_accuracy=("dense_accuracy", "mean"),
        n=("seed", "nunique"))  # fmt: skip
    figure = plt.figure(figsize=(10, 0.62 * len(layers) + 0.9))
    panels, heat = figure.subfigures(1, 2, width_ratios=(1.25, 1))
    _panels(panels, table, layers)
    _heat(heat, table[table["method"] == "magnitude"], layers)
    order = tolerances(frame).sort_values()
    text = (f"One layer pruned alone: {order.index[0]} loses {100 * NOTICED:g} point at sparsity {order.iloc[0]:.2f}, "
            f"{order.index[-1]} at {order.iloc[-1]:.2f}")  # fmt: skip
    plots.headline(figure, text)
    caption = (f"Test accuracy without recovery when one layer is pruned, "
               f"{runs['data'].iat[0]}, {runs['model'].iat[0]}. {text}.")  # fmt: skip
    return Drawing(figure, caption, f"Line charts and a heat map. {text}.", table)


def _panels(figure, table: pd.DataFrame, layers: list[str]) -> None:
    grid = figure.subplots(-(-len(layers) // 2), 2, sharex=True, sharey=True, squeeze=False)
    styles = plots.looks(["magnitude", "random"])
    for axes, layer in zip(grid.flat, layers, strict=False):
        rows = table[table["layer"] == layer]
        for method, line in rows.groupby("method"):
            axes.errorbar(
                line["sparsity"],
                line["accuracy"],
                line["std"].fillna(0),
                label=method,
                capsize=2,
                **styles[method],
            )
        axes.axhline(rows["dense_accuracy"].mean(), color=DENSE, linestyle="--", linewidth=1, label="dense")
        axes.set_title(layer, fontsize=8)
    for axes in grid.flat[len(layers) :]:
        axes.set_visible(False)
    plots.note_n(grid.flat[0], table["n"])
    figure.supxlabel("sparsity of the one layer", fontsize=9)
    figure.supylabel("test accuracy", fontsize=9)
    figure.legend(*grid.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)


def _heat(figure, table: pd.DataFrame, layers: list[str]) -> None:
    axes = figure.subplots()
    lost = table.assign(lost=100 * (table["dense_accuracy"] - table["accuracy"]))
    lost = lost.pivot_table("lost", "layer", "sparsity").loc[layers]
    image = axes.imshow(lost, aspect="auto", cmap="cividis_r", vmin=0)
    for (row, column), value in np.ndenumerate(lost.to_numpy()):
        axes.text(column, row, f"{value:z.0f}", ha="center", va="center", fontsize=8,
                  color="white" if value > image.get_clim()[1] / 2 else "black")  # fmt: skip
    axes.set_xticks(range(lost.shape[1]), [f"{value:g}" for value in lost.columns])
    axes.set_yticks(range(len(lost)), lost.index)
    axes.set(xlabel="sparsity of the one layer")
    axes.grid(False)
    axes.set_title("accuracy lost to magnitude, points", fontsize=9)


def whole_network(frame: pd.DataFrame) -> Drawing:
    """Accuracy against sparsity without recovery: a panel a network, random beside magnitude, weights and filters."""
    runs = whole_runs(frame)
    pairs = list(runs.groupby(["model", "data"], sort=False))
    figure, grid = plt.subplots(
        1, len(pairs), figsize=(max(5, 3.1 * len(pairs)), 3.8), sharey=True, squeeze=False
    )
    styles, tables = plots.looks(sorted(set(runs["method"]))), []
    for axes, ((model, data), rows) in zip(grid.flat, pairs, strict=True):
        table = plots.spread(rows, "sparsity")
        for method, line in table.groupby("method"):
            dash = "--" if method.endswith("filter") else "-"
            axes.errorbar(
                line["x"],
                line["mean"],
                line["std"],
                capsize=2,
                label=method,
                linestyle=dash,
                **styles[method],
            )
        axes.axhline(rows["dense_accuracy"].mean(), color=DENSE, linestyle="--", linewidth=1, label="dense")
        axes.set(title=f"{model}, {data}", xlabel=plots.LABELS["sparsity"])
        plots.note_n(axes, table["n"])
        tables.append(table.assign(model=model, data=data))
    grid[0, 0].set_ylabel(plots.LABELS["accuracy"])
    named = {
        name: handle
        for axes in grid.flat
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=4)
    spare = {method: {model: tolerance(rows[rows["method"] == f"{method}, layerwise"]) for (model, _), rows in pairs}
             for method in ("magnitude", "random")}  # fmt: skip
    text = ("One point is lost to magnitude at sparsity "
            + ", ".join(f"{value:.2f} ({model})" for model, value in spare["magnitude"].items())
            + f"; at random before {max(spare['random'].values()):.2f}")  # fmt: skip
    plots.headline(figure, text)
    caption = (
        f"Test accuracy without recovery against sparsity; mean and standard deviation over seeds. {text}."
    )
    return Drawing(
        figure, caption, f"Line charts, one panel a network. {text}.", pd.concat(tables, ignore_index=True)
    )


def whole_runs(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs that prune all layers, named "method, scope" for weights and by the method alone for filters."""
    found = frame[frame["layer"].isna() & (frame["method"] != "dense")]
    bare = found["method"].str.partition(" ")[0]
    named = bare.where(found["structure"] == "structured", bare + ", " + found["scope"].astype(str))
    return found.assign(method=named).drop_duplicates(
        ["data", "model", "method", "sparsity", "seed"], ignore_index=True
    )
