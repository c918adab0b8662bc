"""Drawings of channel pruning: scales, reconstruction errors, widths, and what a repair is worth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from survey_lib.analysis.equal_compression import compare, contrast
from survey_lib.analysis.findings import main_setting
from survey_lib.charts import plots
from survey_lib.charts.export import Drawing
from survey_lib.charts.intervals import gain_lines
from survey_lib.charts.plots import DENSE, PALETTE

STAGES = {"pruned_accuracy": "right after the cut", "accuracy": "after recovery"}
REFERENCE = "random-filter"


def recovered(frame: pd.DataFrame) -> pd.DataFrame:
    """Structured runs that were fine-tuned; `tables.distinct` may have put the recovery into their names."""
    runs = frame[(frame["structure"] == "structured") & (frame["recovery"] == "finetune")]
    return runs.assign(method=runs["method"].str.split(" ").str[0])


def gains(runs: pd.DataFrame) -> pd.DataFrame:
    """Points above random filters of the same shape, paired by seed: stage, method, sparsity, mean, low, high, n.

    A method whose compression differs from theirs is left out: it made a network of another shape.
    """
    rows = []
    for sparsity, some in runs.groupby("sparsity"):
        sizes = some.groupby("method")["compression"].mean()
        for name in sizes.index[(sizes / sizes.get(REFERENCE, np.nan) - 1).abs() < 1e-6].drop(
            REFERENCE, errors="ignore"
        ):
            for metric, stage in STAGES.items():
                sides = [some[some["method"] == side] for side in (name, REFERENCE)]
                found = compare(contrast(*sides), metric)
                points = [100 * value for value in (found.mean, found.low, found.high)]
                rows.append((stage, name, sparsity, *points, found.n))
    return pd.DataFrame(rows, columns=["stage", "method", "sparsity", "mean", "low", "high", "n"])


def before_and_after(frame: pd.DataFrame) -> Drawing:
    """Accuracy against compression right after the cut and after recovery, the same runs in both panels."""
    label, main = main_setting(frame)
    runs = recovered(main)
    figure, grid = plt.subplots(1, 2, figsize=(9, 4.2))
    tables = {}
    for axes, (metric, stage) in zip(grid, STAGES.items(), strict=True):
        tables[stage] = plots.curves(runs, axes, metric=metric)
        axes.set(
            title=stage,
            ylabel="test accuracy" if metric == "pruned_accuracy" else "test accuracy (own scale)",
        )
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    mildest = runs["sparsity"].min()
    spans = {
        stage: np.ptp(table.loc[table["sparsity"] == mildest, "mean"]) for stage, table in tables.items()
    }
    text = f"At sparsity {mildest:g} methods lie " + ", ".join(
        f"{100 * s:.1f} points apart {stage}" for stage, s in spans.items()
    )
    plots.headline(figure, text)
    caption = f"Test accuracy against compression on {label}; mean and standard deviation over seeds. {text}."
    return Drawing(
        figure, caption, f"Two line charts. {text}.", pd.concat(tables, names=["stage"]).reset_index("stage")
    )


def worth(frame: pd.DataFrame) -> Drawing:
    """Points above random filters of the same shape at each sparsity, right after the cut and after recovery."""
    label, main = main_setting(frame)
    table = gains(recovered(main))
    figure, grid = plt.subplots(1, 2, figsize=(9, 3.9))
    styles = plots.looks(sorted(set(table["method"])))
    for axes, (stage, rows) in zip(grid, table.groupby("stage", sort=False), strict=True):
        gain_lines(rows, axes, styles)
        axes.set_title(stage)
    grid[0].set_ylabel("minus random filters, points")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    best = table.loc[table.groupby("stage", sort=False)["mean"].idxmax()]
    clear = table[table["low"] > 0].groupby("stage").size()
    text = "; ".join(f"{row.stage} up to {row.mean:+.1f} points over random ({row.method}), {clear.get(row.stage, 0)} of "
                     f"{(table['stage'] == row.stage).sum()} intervals above 0" for row in best.itertuples())  # fmt: skip
    text = text[0].upper() + text[1:]
    plots.headline(figure, text)
    caption = (
        f"Paired differences on {label} between networks of one shape, 95 % intervals over seeds. {text}."
    )
    return Drawing(figure, caption, f"Two interval charts. {text}.", table)


def scales(panels: Mapping[str, np.ndarray]) -> Figure:
    """Histograms of |γ|, a panel each, on shared axes."""
    figure, grid = plt.subplots(1, len(panels), figsize=(8, 2.7), sharex=True, sharey=True, squeeze=False)
    bins = np.linspace(0, max(values.max() for values in panels.values()), 26)
    for axes, (title, values) in zip(grid.flat, panels.items(), strict=True):
        axes.hist(values, bins, color=PALETTE[0])
        axes.axvline(np.median(values), color=DENSE, linestyle="--", linewidth=1)
        axes.set(title=title, xlabel="|γ| (dashed: median)")
    grid[0, 0].set_ylabel("channels")
    return figure


def errors(table: pd.DataFrame) -> Figure:
    """Unexplained share of the next layer's output; columns: repair, choice, kept, error. A panel a repair, log axis."""
    repairs = list(dict.fromkeys(table["repair"]))
    figure, grid = plt.subplots(1, len(repairs), figsize=(8.4, 3.1), sharey=True, squeeze=False)
    styles = plots.looks(sorted(set(table["choice"])))
    for axes, repair in zip(grid.flat, repairs, strict=True):
        for name, rows in table[table["repair"] == repair].groupby("choice"):
            axes.plot(rows["kept"], rows["error"], label=name, **styles[name] | {"markersize": 4})
        axes.set(title=repair, xlabel="channels kept", yscale="log")
    grid[0, 0].set_ylabel("output not explained (share)")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def kept_widths(records: Iterable[dict]) -> pd.DataFrame:
    """One row a run and layer: data, method, sparsity, seed, layer, share of its channels kept."""
    rows = [
        {name: record["config"][name] for name in ("data", "method", "recovery", "sparsity", "seed")}
        | {"layer": layer["layer"], "kept": layer["kept"] / layer["total"]}
        for record in records if record["status"] == "done"
        for layer in record["layers"] if layer["unit"] in ("filter", "channel")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def widths(table: pd.DataFrame, axes: Axes) -> None:
    """Share of channels kept, methods down and layers across, each cell with its per cent."""
    image = axes.imshow(table, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(table.shape[1]), table.columns, rotation=35, ha="right")
    axes.set_yticks(range(len(table)), table.index)
    axes.grid(False)
    for (row, column), value in np.ndenumerate(table.to_numpy()):
        axes.text(
            column,
            row,
            f"{value:.0%}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if value < 0.5 else "black",
        )
    axes.figure.colorbar(image, ax=axes, label="channels kept (share)")
