"""Figures of study `saliency`: criteria without recovery and after it, and against magnitude of the same scope."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.container import Container

from survey_lib.analysis.equal_compression import compare, contrast
from survey_lib.analysis.statistics import TooFew
from survey_lib.charts import plots
from survey_lib.charts.export import Drawing, titled
from survey_lib.charts.intervals import NO_PAIRS, whiskers

STAGES = {"none": "without recovery", "finetune": "after recovery"}


def recipe(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs with the smallest amount of evidence, named "method, scope"."""
    main = frame[frame["evidence"] == frame["evidence"].min()]
    bare = main["method"].str.partition(" ")[0]  # `tables.distinct` may have named variants already
    return main.assign(method=bare.where(bare == "dense", bare + ", " + main["scope"].astype(str)))


def before_and_after(frame: pd.DataFrame) -> Drawing:
    """Error against compression of every criterion, without recovery and after it."""
    main = recipe(frame).eval("error = 1 - accuracy")
    figure, grid = plt.subplots(1, 2, figsize=(9, 4.2), sharey=True)
    tables = {}
    for axes, (stage, title) in zip(grid, STAGES.items(), strict=True):
        runs = main[(main["recovery"] == stage) & (main["method"] != "dense")]
        tables[title] = plots.lines(runs, axes, "compression", "error")
        plots.dense_line(axes, 1 - runs["dense_accuracy"].mean())
        axes.set(title=title, yscale="log", ylabel="test error", ylim=(0.085, 1))
        _dashed(axes)
    grid[0].set_yticks([0.1, 0.2, 0.5, 1], ["10 %", "20 %", "50 %", "100 %"])
    grid[0].minorticks_off()
    grid[1].set_ylabel("")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    ends = {title: _range_of_criteria(table) for title, table in tables.items()}
    apart = [f"{100 * (high - low):.1f} {title}" for title, (low, high) in ends.items()]
    says = f"With {1 - main['sparsity'].max():.0%} of the weights left, criteria differ by {', '.join(apart)} (points)"
    about = (
        f"Test error against compression on {main['data'].iat[0]}, {main['model'].iat[0]}; mean and standard deviation "
        "over seeds. The criteria are all methods but random."
    )
    return titled(figure, says, about, pd.concat(tables, names=["stage"]).reset_index("stage"))


def _dashed(axes: Axes) -> None:
    """The criteria that rank each layer by itself, dashed."""
    for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
        if "layerwise" in label:
            (handle[0] if isinstance(handle, Container) else handle).set_linestyle("--")


def _range_of_criteria(table: pd.DataFrame) -> tuple[float, float]:
    last = table[(table["sparsity"] == table["sparsity"].max()) & ~table["method"].str.startswith("random")]
    return last["mean"].min(), last["mean"].max()


def gains(frame: pd.DataFrame) -> Drawing:
    """Points above magnitude of the same scope, paired by seed, at each sparsity, without recovery and after it."""
    main = recipe(frame)
    figure, grid = plt.subplots(1, 2, figsize=(9, 3.8))
    looks, tables = plots.looks(sorted(set(main["method"]) - {"dense"})), {}
    for axes, (stage, title) in zip(grid, STAGES.items(), strict=True):
        tables[title] = table = _gains_of(main[main["recovery"] == stage])
        for number, (name, rows) in enumerate(table.groupby("method")):
            beside = rows["sparsity"] + 0.007 * (number - 1)  # so that they do not hide each other
            whiskers(beside, rows["mean"], rows["low"], rows["high"], axes, label=name, **looks[name])
        _dashed(axes)
        axes.axhline(0, color=plots.DENSE, linestyle="--", linewidth=1)
        axes.set(title=title, xlabel=plots.LABELS["sparsity"], ymargin=0.12)
        plots.note_n(axes, table["n"])
    grid[0].set_ylabel("minus magnitude, points")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    first, second = (_clear(table) for table in tables.values())
    says = f"{first} is clearly above magnitude without recovery, and {second} after it".capitalize()
    about = "Paired difference to magnitude, with Student's 95 % interval over seeds; clearly: the whole interval is above 0."
    return titled(figure, says, about, pd.concat(tables, names=["stage"]).reset_index("stage"))


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
            if some.groupby("method")["seed"].nunique().reindex([name, reference], fill_value=0).min() > 1:
                found = compare(contrast(*(some[some["method"] == side] for side in (name, reference))))
                rows.append((name, sparsity, 100 * found.mean, 100 * found.low, 100 * found.high, found.n))
    if not rows:
        raise TooFew(NO_PAIRS)
    return pd.DataFrame(rows, columns=["method", "sparsity", "mean", "low", "high", "n"])
