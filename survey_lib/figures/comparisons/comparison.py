"""The figure of accuracy against size and MACs, with the uncertainty of seeds and of test images."""

import matplotlib.pyplot as plt
import pandas as pd

from survey_lib.analysis.equal_compression import contrast, gaps
from survey_lib.analysis.tables import BASELINES, is_control, main_setting
from survey_lib.charts import plots
from survey_lib.charts.export import Drawing, titled
from survey_lib.charts.intervals import whiskers
from survey_lib.charts.looks import looks
from survey_lib.experiment.data.loaders import load

RATIOS = ("compression", "speedup_theoretical")


def tradeoff(frame: pd.DataFrame) -> Drawing:
    """Test error of magnitude, the L1 norm of filters and their random twins, at equal size and at equal MACs."""
    where, main = main_setting(frame)
    known = main["test_n"].dropna()
    examples = int(known.iloc[0]) if len(known) else len(load(main["data"].iloc[0]).test[1])
    simple = main[main["method"].str.partition(" ")[0].isin(BASELINES)]
    figure, grid = plt.subplots(1, 2, figsize=(9, 4.4), sharey=True)
    tables = {}
    for axes, x in zip(grid, RATIOS, strict=True):
        tables[x] = levels(simple, x, examples)
        for name, style in looks(set(simple["method"])).items():
            rows = tables[x][tables[x]["method"] == name]
            line = "--" if "global" in name or name == "random-filter" else "-"
            thick = {"elinewidth": 2.5, "linewidth": 1, "markersize": 4, "linestyle": line, "label": name}
            pale = {"linestyle": "", "color": style["color"], "alpha": 0.35}
            for error, look in (("both", pale), ("seeds", thick | style)):
                ends = rows["error"] - rows[error], rows["error"] + rows[error]
                whiskers(rows["x"], rows["error"], *ends, axes, capsize=0, **look)
        for longer, runs in main[main["method"] == "dense"].groupby(is_control(main)):
            label, line = ("dense, trained longer", ":") if longer else ("dense", "--")
            level = 1 - runs["accuracy"].mean()
            axes.axhline(level, color=plots.DENSE, linewidth=1, linestyle=line, label=label)
        plots.scale(axes, x)
    grid[0].set(yscale="log", ylabel="test error")
    grid[0].yaxis.set_major_formatter(lambda value, position: f"{value:.0%}")
    grid[0].yaxis.set_minor_formatter(lambda value, position: f"{value:.0%}" if value < 0.5 else "")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    size, macs = (_gap(main, x) for x in RATIOS)
    says = f"Magnitude keeps {size} than l1-filter at equal size, and {macs} at equal MACs"
    about = (
        f"Test error on {where}: mean over seeds. Thick bars: one standard error over seeds; pale bars: over seeds and "
        f"{examples:,} test images, which more seeds cannot shorten. MACs of masks count only weights that are not zero. "
        "Differences are means over the range that both cover."
    )
    return titled(figure, says, about, pd.concat(tables, names=["x_axis"]).reset_index("x_axis"))


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
    """How far magnitude is from l1-filter at equal x, in words."""
    # Layerwise, if several
    weights = max(name for name in set(runs["method"]) if name.startswith("magnitude"))
    first, second = (runs[runs["method"] == name] for name in (weights, "l1-filter"))
    found = 100 * gaps(contrast(first, second, x)).mean()
    return f"{abs(found):.1f} points {'more' if found > 0 else 'less'}"
