"""Figures of study `saliency`: criteria without recovery and after it, and against magnitude of the same scope."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd

from survey_lib.analysis.equal_compression import compare, contrast
from survey_lib.charts import plots
from survey_lib.charts.export import Drawing
from survey_lib.charts.intervals import gain_lines

STAGES = {"none": "without recovery", "finetune": "after recovery"}


def recipe(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs of a study's most frequent data and its smallest amount of evidence, named "method, scope"."""
    main = frame[frame["data"] == frame["data"].value_counts().idxmax()]
    main = main[main["evidence"] == main["evidence"].min()]
    bare = main["method"].str.partition(" ")[0]  # `tables.distinct` may have named variants already
    named = main.assign(method=bare.where(bare == "dense", bare + ", " + main["scope"].astype(str)))
    # a scope asked for and the method's own give the same run twice, under two keys
    return named.drop_duplicates(["method", "recovery", "sparsity", "seed"], ignore_index=True)


def before_and_after(frame: pd.DataFrame) -> Drawing:
    """Error against compression of every criterion, without recovery and after it."""
    main = recipe(frame).eval("error = 1 - accuracy")
    figure, grid = plt.subplots(1, 2, figsize=(9, 4.2), sharey=True)
    tables = {}
    for axes, (stage, title) in zip(grid, STAGES.items(), strict=True):
        tables[title] = plots.curves(main[main["recovery"] == stage], axes, metric="error")
        axes.set(title=title, yscale="log")
    grid[0].set_yticks([0.02, 0.05, 0.1, 0.2, 0.5], ["2 %", "5 %", "10 %", "20 %", "50 %"])
    grid[0].minorticks_off()
    grid[1].set_ylabel("")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    ends = {title: _range_of_criteria(table) for title, table in tables.items()}
    apart = [f"{100 * (high - low):.1f} points apart {title}" for title, (low, high) in ends.items()]
    text = f"With {1 - main['sparsity'].max():.0%} of the weights left, criteria are {' and '.join(apart)}"
    plots.headline(figure, text)
    label = f"{main['data'].iat[0]}, {main['model'].iat[0]}"
    caption = f"Test error against compression on {label}; mean and standard deviation over seeds. {text} (random left out)."
    return Drawing(
        figure, caption, f"Two line charts. {text}.", pd.concat(tables, names=["stage"]).reset_index("stage")
    )


def _range_of_criteria(table: pd.DataFrame) -> tuple[float, float]:
    last = table[(table["sparsity"] == table["sparsity"].max()) & ~table["method"].str.startswith("random")]
    return last["mean"].min(), last["mean"].max()


def gains(frame: pd.DataFrame) -> Drawing:
    """Points above magnitude of the same scope, paired by seed, at each sparsity, without recovery and after it."""
    main = recipe(frame)
    figure, grid = plt.subplots(1, 2, figsize=(9, 3.8))
    styles, tables = plots.looks(sorted(set(main["method"]) - {"dense"})), {}
    for axes, (stage, title) in zip(grid, STAGES.items(), strict=True):
        tables[title] = table = _gains_of(main[main["recovery"] == stage])
        gain_lines(table, axes, styles)
        axes.set_title(title)
    grid[0].set_ylabel("minus magnitude of the same scope, points")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    counts = ", ".join(
        f"{(table['low'] > 0).sum()} of {len(table)} settings {title}" for title, table in tables.items()
    )
    first, second = (_clear(table) for table in tables.values())
    text = f"{first} is clearly above magnitude without recovery, and {second} after it".capitalize()
    plots.headline(figure, text)
    caption = (
        f"Paired difference to magnitude, with Student's 95 % interval over seeds. {text}. "
        f"Whole intervals above magnitude: {counts}."
    )
    return Drawing(
        figure,
        caption,
        f"Two interval charts. {text}.",
        pd.concat(tables, names=["stage"]).reset_index("stage"),
    )


def _clear(table: pd.DataFrame) -> str:
    """The methods whose whole interval is above magnitude at some sparsity."""
    names = sorted({name.partition(", ")[0] for name in table.loc[table["low"] > 0, "method"]})
    return f"only {' and '.join(names)}" if names else "no criterion"


def _gains_of(runs: pd.DataFrame) -> pd.DataFrame:
    """Rows method, sparsity, mean, low, high, n: points above the magnitude of the method's own scope."""
    names = sorted(
        name for name in set(runs["method"]) if not name.startswith(("random", "magnitude", "dense"))
    )
    rows = []
    for name in names:
        reference = "magnitude, " + name.partition(", ")[2]
        for sparsity, some in runs[runs["method"].isin([name, reference])].groupby("sparsity"):
            if some.groupby("method")["seed"].nunique().reindex([name, reference]).min() > 1:
                found = compare(contrast(*(some[some["method"] == side] for side in (name, reference))))
                rows.append((name, sparsity, 100 * found.mean, 100 * found.low, 100 * found.high, found.n))
    return pd.DataFrame(rows, columns=["method", "sparsity", "mean", "low", "high", "n"])
