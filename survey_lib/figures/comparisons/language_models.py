"""Drawings of what a pruned language model loses, which inputs carry outliers, and what it still writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from survey_lib.charts import plots
from survey_lib.charts.export import Drawing
from survey_lib.charts.intervals import spread_lines

METRICS = {
    "written_loss": "loss on stories by hand, nats",
    "divergence": "KL from dense, own text, nats",
}
SINGLE = ("random", "magnitude", "sparsegpt")  # methods for single weights beside what is cut out
COLUMNS, LINES = 62, 3  # of one text in `texts`


def losses(frame: pd.DataFrame) -> Drawing:
    """Loss on the written stories, and divergence on the dense model's own text, a line a method over sparsity."""
    pruned = frame[(frame["structure"] == "unstructured") & (frame["pattern"] == "")]
    figure, grid = plt.subplots(2, 1, figsize=(5.6, 6.2), sharex=True)
    styles, tables = plots.looks(sorted(set(pruned["method"]))), []
    for metric, axes in zip(METRICS, grid, strict=True):
        table = plots.spread(pruned, "sparsity", metric)
        spread_lines(table, axes, {name: styles[name] for name in sorted(set(table["method"]))})
        axes.set(yscale="log", ylabel=METRICS[metric])
        plain(axes.yaxis)
        plots.note_n(axes, table["n"])
        tables.append(table.assign(metric=metric))
    level = frame.loc[frame["method"] == "dense", "written_loss"].mean()
    plots.dense_line(grid[0], level)
    grid[0].set_yticks([1, 2, 4, 8, 16])
    grid[1].set_xlabel("sparsity of the linear layers")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    text, order = _order(pruned)
    plots.headline(figure, text)
    caption = (
        "Cross-entropy on five stories written by hand (1,103 tokens), and KL divergence from the dense model on "
        "text that it wrote itself (51,200 tokens), against the share of weights removed from the linear layers "
        "of stories260K, without recovery; logarithmic. Mean and standard deviation over draws of the calibration "
        f"text. {text}. {order}."
    )
    return Drawing(
        figure, caption, f"Two line charts. {text}. {order}.", pd.concat(tables, ignore_index=True)
    )


def _order(pruned: pd.DataFrame) -> tuple[str, str]:
    """How magnitude compares with the best method at half of the weights, and the divergence of each there."""
    half = pruned[np.isclose(pruned["sparsity"], 0.5) & (pruned["method"] != "random")]
    half = half.groupby("method")["divergence"].mean().sort_values()
    names = ", ".join(f"{name} {nats:.2f}" for name, nats in half.items())
    text = (
        f"With half of the weights gone, magnitude is {half['magnitude'] / half.iloc[0]:.1f} times as far "
        "from the dense model as the best method"
    )
    return text, f"Divergence at sparsity 0.5: {names}"


def structures(frame: pd.DataFrame) -> Drawing:
    """Loss against compression of the whole model: single weights beside heads, FFN channels and blocks."""
    pruned = frame[(frame["structure"] == "structured") | frame["method"].isin(SINGLE)]
    table = plots.spread(pruned, "compression", "loss")
    cut = set(pruned.loc[pruned["structure"] == "structured", "method"])
    figure, axes = plt.subplots(figsize=(5.6, 4.6))
    for method, style in plots.looks(sorted(set(pruned["method"]))).items():
        rows = table[table["method"] == method]
        look = style | ({"linestyle": "-"} if method in cut else {"linestyle": ":", "markersize": 3})
        axes.errorbar(rows["x"], rows["mean"], yerr=rows["std"], capsize=2, label=method, **look)
    level = frame.loc[frame["method"] == "dense", "loss"].mean()
    axes.axhline(level, color=plots.DENSE, linestyle="--", linewidth=1, label="dense")
    axes.set(
        xlabel=plots.LABELS["compression"], ylabel="loss, nats a token", yscale="log", yticks=[1, 2, 4, 8]
    )
    axes.xaxis.set_major_formatter(lambda value, position: f"{value:g}×")
    plain(axes.yaxis)
    figure.legend(loc="outside lower center", ncols=3)
    parts = table[table["method"].isin(cut)]
    single = table[table["method"] == "magnitude"]
    more = (parts["mean"] > np.interp(parts["x"], single["x"], single["mean"])).sum()
    share = "every size" if more == len(parts) else f"{more} of {len(parts)} sizes"
    text = f"At {share}, cutting out parts adds more loss than removing single weights by magnitude"
    plots.headline(figure, text)
    caption = (
        f"Loss against size: parts cut out (solid), single weights set to 0 (dotted). {text}. "
        "Stories260K on 51,200 tokens that the dense model wrote, embedding included, without recovery; mean and "
        "standard deviation over draws of the calibration text."
    )
    return Drawing(figure, caption, f"Line chart. {text}.", table)


def plain(axis: Axis, unit: str = "") -> None:
    """Plain numbers at the large ticks of a logarithmic axis, none at the small ones.

    Parameters
    ----------
    axis : Axis
        Where to draw.
    unit : str, default ''
        Unit behind each number.
    """
    axis.set_major_formatter(lambda value, position: f"{value:g}{unit}")
    axis.set_minor_formatter(NullFormatter())


def outliers(norms: Mapping[str, np.ndarray], least: float, axes: Axes) -> pd.DataFrame:
    """Norm of each input over the layer's median, a row a layer; inputs from `least` on are marked.

    Parameters
    ----------
    norms : Mapping[str, np.ndarray]
        Layer -> (inputs,) norms over all calibration tokens.
    least : float
        From here on an input is marked.
    axes : Axes
        Where to draw.

    Returns
    -------
    pd.DataFrame
        layer, input, ratio.
    """
    parts = []
    for row, (name, norm) in enumerate(norms.items()):
        ratio = norm / np.median(norm)
        high = ratio >= least
        axes.plot(ratio[~high], np.full((~high).sum(), row), "|", color=plots.GREY, markersize=5)
        axes.plot(ratio[high], np.full(high.sum(), row), "D", color=plots.PALETTE[1], markersize=4)
        parts.append(pd.DataFrame({"layer": name, "input": np.arange(len(norm)), "ratio": ratio}))
    axes.axvline(least, color=plots.DENSE, linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(norms)), list(norms))
    axes.set(
        xscale="log",
        ylim=(len(norms) - 0.5, -0.5),
        xlabel="norm of an input / median of the layer",
        xticks=[0.5, 1, 2, 4],
    )
    plain(axes.xaxis, "×")
    return pd.concat(parts, ignore_index=True)


def texts(written: Mapping[str, Sequence[tuple[str, float]]], highest: float = 8.0) -> Figure:
    """What each model wrote, the darker the more it surprises the dense model.

    Parameters
    ----------
    written : Mapping[str, Sequence[tuple[str, float]]]
        Model -> (piece, surprise of the dense model in nats) in order.
    highest : float, default 8.0
        Surprise of the darkest.
    """
    figure, axes = plt.subplots(figsize=(5.6, 0.21 * (LINES + 1.2) * len(written) + 0.6))
    for number, (name, pieces) in enumerate(written.items()):
        top, place = number * (LINES + 1.2), 0
        axes.text(0, top, name, fontsize=9, weight="bold", va="center")
        for piece, surprise in pieces:
            shown = piece.replace("\n", "¶")
            if place % COLUMNS + len(shown) > COLUMNS:
                place = (place // COLUMNS + 1) * COLUMNS
            if place >= LINES * COLUMNS:
                break
            share = min(surprise / highest, 1.0)
            line, column = divmod(place, COLUMNS)
            axes.barh(
                top + line + 1, len(shown), left=column, height=0.92, color=plt.cm.Oranges(0.75 * share)
            )
            axes.text(
                column,
                top + line + 1,
                shown.replace("$", r"\$"),
                family="monospace",
                fontsize=10,
                va="center",
            )
            place += len(shown)
    axes.set(xlim=(0, COLUMNS), ylim=(len(written) * (LINES + 1.2) - 0.4, -0.8))
    axes.axis("off")
    return figure


def reported(points: pd.DataFrame, axes: Axes) -> None:
    """Nats that a pattern adds, a row a model and pattern, a mark a method.

    Parameters
    ----------
    points : pd.DataFrame
        model, pattern, method, nats.
    axes : Axes
        Where to draw.
    """
    labels = list(dict.fromkeys(points["model"] + ", " + points["pattern"]))
    rows = (points["model"] + ", " + points["pattern"]).map(labels.index)
    for name, style in plots.looks(sorted(set(points["method"]))).items():
        mine = points["method"] == name
        axes.plot(points.loc[mine, "nats"], rows[mine], linestyle="", label=name, **style)
    axes.set_yticks(range(len(labels)), labels)
    axes.set(
        ylim=(len(labels) - 0.5, -0.5),
        xscale="log",
        xlabel="loss added by pruning, nats a token",
        xticks=[0.2, 0.5, 1, 2, 4],
    )
    plain(axes.xaxis)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
