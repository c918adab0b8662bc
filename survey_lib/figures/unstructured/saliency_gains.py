"""Figures of study `saliency`: criteria without recovery and after it, and against magnitude of the same scope."""

import matplotlib.pyplot as plt
import pandas as pd

from survey_lib.analysis.equal_compression import difference
from survey_lib.analysis.statistics import TooFew
from survey_lib.charts import plots
from survey_lib.charts.export import Drawing
from survey_lib.charts.intervals import NO_PAIRS

STAGES = {"none": "without recovery", "finetune": "after recovery"}


def recipe(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs with the smallest amount of evidence, named "method, scope"."""
    main = frame[frame["evidence"] == frame["evidence"].min()]
    dense = main["method"] == "dense"
    return main.assign(method=main["method"].where(dense, main["method"] + ", " + main["scope"]))


def _styles(main: pd.DataFrame) -> dict[str, dict]:
    """The look of each criterion, dashed where it ranks each layer by itself."""
    looks = plots.looks(set(main["method"]) - {"dense"})
    return {name: look | {"linestyle": "--" if "layerwise" in name else "-"} for name, look in looks.items()}


def before_and_after(frame: pd.DataFrame) -> Drawing:
    """Error against compression of every criterion, without recovery and after it."""
    main = recipe(frame).eval("error = 1 - accuracy")
    figure, grid = plt.subplots(1, 2, figsize=(9, 4.2), sharey=True)
    tables, apart = {}, []
    for axes, (stage, title) in zip(grid, STAGES.items(), strict=True):
        runs = main[(main["recovery"] == stage) & (main["method"] != "dense")]
        tables[title] = table = plots.lines(runs, axes, "compression", "error", styles=_styles(runs))
        plots.logarithm(axes, "y", "%")
        axes.set(title=title, ylim=(0.085, 1))
        chosen = table[~table["method"].str.startswith("random")]
        ends = chosen.loc[chosen["sparsity"] == chosen["sparsity"].max(), "mean"]
        apart.append(f"{100 * (ends.max() - ends.min()):.1f} {title}")
    grid[1].set_ylabel("")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    says = f"With {1 - main['sparsity'].max():.0%} of the weights left, criteria differ by {', '.join(apart)} (points)"
    data = pd.concat(tables, names=["stage"]).reset_index("stage")
    return Drawing(figure, says, data, {name: main[name].iat[0] for name in ("data", "model")})


def gains(frame: pd.DataFrame) -> Drawing:
    """Points above magnitude of the same scope, paired by seed, at each sparsity, without recovery and after it."""
    main = recipe(frame)
    figure, grid = plt.subplots(1, 2, figsize=(9, 3.8))
    styles, tables = _styles(main), {}
    for axes, (stage, title) in zip(grid, STAGES.items(), strict=True):
        tables[title] = table = _gains_of(main[main["recovery"] == stage])
        for number, (name, rows) in enumerate(table.groupby("method")):
            beside = rows["sparsity"] + 0.007 * (number - 1)  # so that they do not hide each other
            reach = rows["high"] - rows["mean"]
            axes.errorbar(beside, rows["mean"], reach, capsize=2, label=name, **styles[name])
        axes.axhline(0, color=plots.DENSE, linestyle="--", linewidth=1)
        axes.set(title=title, xlabel=plots.LABELS["sparsity"], ymargin=0.12)
        plots.note_n(axes, table["n"])
    grid[0].set_ylabel("minus magnitude, points")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    first, second = (_clear(table) for table in tables.values())
    says = f"{first} is clearly above magnitude without recovery, and {second} after it".capitalize()
    return Drawing(figure, says, pd.concat(tables, names=["stage"]).reset_index("stage"))


def _clear(table: pd.DataFrame) -> str:
    """The methods whose whole interval is above magnitude at some sparsity."""
    names = sorted({name.partition(", ")[0] for name in table.loc[table["low"] > 0, "method"]})
    return f"only {' and '.join(names)}" if names else "no criterion"


def _gains_of(runs: pd.DataFrame) -> pd.DataFrame:
    """Rows method, sparsity, mean, low, high, n: points above the magnitude of the method's own scope."""
    rows = []
    pruned = runs[~runs["method"].str.startswith(("random", "magnitude", "dense"))]
    for name, scope in pruned[["method", "scope"]].drop_duplicates().itertuples(index=False):
        for sparsity, some in runs.groupby("sparsity"):
            found = difference(some, name, f"magnitude, {scope}")
            if found.n > 1:
                points = (100 * end for end in (found.mean, found.low, found.high))
                rows.append((name, sparsity, *points, found.n))
    if not rows:
        raise TooFew(NO_PAIRS)
    table = pd.DataFrame(rows, columns=["method", "sparsity", "mean", "low", "high", "n"])
    return table.sort_values(["method", "sparsity"], ignore_index=True)
