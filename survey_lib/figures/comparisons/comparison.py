"""The figure of accuracy against size and MACs, with the uncertainty of seeds and of test images."""

import matplotlib.pyplot as plt
import pandas as pd

from survey_lib.analysis.equal_compression import difference
from survey_lib.analysis.tables import TESTS, distinct, main_setting
from survey_lib.charts import plots
from survey_lib.charts.export import Drawing

RATIOS = ("compression", "speedup_theoretical")
SIMPLE = ("random", "magnitude", "random-filter", "l1-filter")
DENSE = {"none": ("dense", "--"), "finetune": ("dense, trained longer", ":")}  # by recovery


def tradeoff(frame: pd.DataFrame) -> Drawing:
    """Test error of magnitude, the L1 norm of filters and their random twins, at equal size and at equal MACs."""
    recipe = frame["recovery"].isin(DENSE) & (frame["recovery_lr"] == frame["recovery_lr"].mode()[0])
    where, main = main_setting(distinct(frame[recipe]))
    examples = int(main["test_n"].fillna(main["data"].map(TESTS)).iloc[0])
    simple = main[main["method"].str.partition(" ")[0].isin(SIMPLE)]
    tables = {x: levels(simple, x, examples) for x in RATIOS}
    figure, grid = plt.subplots(1, 2, figsize=(9, 4.4), sharey=True)
    for axes, (x, table) in zip(grid, tables.items(), strict=True):
        for name, style in plots.looks(set(simple["method"])).items():
            rows = table[table["method"] == name]
            line = "--" if "global" in name or name == "random-filter" else "-"
            thick = {"elinewidth": 2.5, "linewidth": 1, "markersize": 4, "linestyle": line, "label": name}
            pale = {"fmt": "none", "ecolor": style["color"], "alpha": 0.35}
            axes.errorbar(rows["x"], rows["error"], rows["both"], **pale)
            axes.errorbar(rows["x"], rows["error"], rows["seeds"], **thick | style)
        for recovery, (label, line) in DENSE.items():
            dense = main[(main["method"] == "dense") & (main["recovery"] == recovery)]
            level = 1 - dense["accuracy"].mean()
            axes.axhline(level, color=plots.DENSE, linewidth=1, linestyle=line, label=label)
        plots.scale(axes, x)
    plots.logarithm(grid[0], "y", "%")
    grid[0].set_ylabel("test error")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    size, macs = (_gap(main, x) for x in RATIOS)
    says = f"Magnitude keeps {size} than l1-filter at equal size, and {macs} at equal MACs"
    data = pd.concat(tables, names=["x_axis"]).reset_index("x_axis")
    return Drawing(figure, says, data, {"where": where, "examples": examples})


def levels(runs: pd.DataFrame, x: str, examples: int) -> pd.DataFrame:
    """Mean test error of each method and sparsity, with its standard error over seeds and over both.

    seeds = s / √S and both = √(s² / S + e (1 − e) / n), for the error e over S seeds and n test examples that
    all seeds share. `both` is a little too wide: s² holds some of the sampling error already.

    Parameters
    ----------
    runs : pd.DataFrame
        Runs of a study.
    x : str
        A column.
    examples : int
        Number of test examples n.
    """
    groups = runs.assign(error=1 - runs["accuracy"]).groupby(["method", "sparsity"])
    table = groups.agg(x=(x, "mean"), error=("error", "mean"), seeds=("error", "sem")).fillna({"seeds": 0.0})
    sampling = table["error"] * (1 - table["error"]) / examples
    return table.assign(both=(table["seeds"] ** 2 + sampling) ** 0.5).reset_index().sort_values("x")


def _gap(runs: pd.DataFrame, x: str) -> str:
    """How far magnitude, layerwise if there are several, is from l1-filter at equal x, in words."""
    weights = max(name for name in set(runs["method"]) if name.startswith("magnitude"))
    found = 100 * difference(runs, weights, "l1-filter", x).mean
    return f"{abs(found):.1f} points {'more' if found > 0 else 'less'}"
