"""Figures that compare many methods, or one with its controls, for the notebooks 15, 16 and 20."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from survey_lib.analysis.recommendations import RATIOS, TRAINING, advice, settle
from survey_lib.analysis.statistics import compare, contrast, difference, gaps
from survey_lib.analysis.tables import TESTS, distinct, main_setting
from survey_lib.charts import plots
from survey_lib.charts.export import Drawing
from survey_lib.charts.plots import intervals, names

SIMPLE = ("random", "magnitude", "random-filter", "l1-filter")
DENSE = {"none": ("dense", "--"), "finetune": ("dense, trained longer", ":")}  # by recovery
REFERENCE = "cut, fine-tuned"
INHERITED = ("cut", "random cut", "dense")  # these start from the trained dense network
CONTROLS = {
    "cut, rate rewound": "method == 'l1-filter' and recovery == 'lr-rewind'",
    "cut shape, new weights (B)": "method == 'l1-filter' and recovery == 'scratch-b'",
    "dense, rate rewound": "method == 'dense' and recovery == 'lr-rewind'",
    "dense, trained longer": "method == 'dense' and recovery == 'finetune' and model == 'resnet-8'",
    "dense": "method == 'dense' and recovery == 'none' and model == 'resnet-8'",
    REFERENCE: "method == 'l1-filter' and recovery == 'finetune'",
    "cut shape, new weights (E)": "method == 'l1-filter' and recovery == 'scratch-e'",
    "random cut, fine-tuned": "method == 'random-filter' and recovery == 'finetune'",
    "narrow network": "model == 'resnet-8-narrow' and recovery == 'none'",
}
MARKS = {
    "loses least": {"marker": "o", "markersize": 9, "color": plots.PALETTE[0], "zorder": 3},
    "ties with it": {"marker": "o", "markerfacecolor": "none", "color": plots.PALETTE[0]},
    "loses more": {"marker": "o", "markerfacecolor": "none", "color": plots.GREY},
    "random": {"marker": "x", "color": plots.GREY},
}


def tradeoff(frame: pd.DataFrame) -> Drawing:
    """Test error of magnitude, the L1 norm of filters and their random twins, at equal size and at equal MACs."""
    recipe = frame["recovery"].isin(DENSE) & (frame["recovery_lr"] == frame["recovery_lr"].mode()[0])
    where, main = main_setting(distinct(frame[recipe]))
    examples = int(main["test_n"].fillna(main["data"].map(TESTS)).iloc[0])
    simple = main[main["method"].str.partition(" ")[0].isin(SIMPLE)]
    figure, grid = plt.subplots(1, 2, figsize=(9, 4.4), sharey=True)
    tables, words = {}, []
    for axes, x in zip(grid, RATIOS, strict=True):
        tables[x] = table = levels(simple, x, examples)
        for name, style in plots.looks(set(simple["method"])).items():
            rows = table[table["method"] == name]
            line = "--" if "global" in name or name == "random-filter" else "-"
            thick = {"elinewidth": 2.5, "linewidth": 1, "markersize": 4, "linestyle": line, "label": name}
            pale = {"fmt": "none", "ecolor": style["color"], "alpha": 0.35}
            axes.errorbar(rows["x"], rows["error"], rows["both"], **pale)
            axes.errorbar(rows["x"], rows["error"], rows["seeds"], **thick | style)
        for recovery, (label, line) in DENSE.items():
            dense = main.loc[(main["method"] == "dense") & (main["recovery"] == recovery), "accuracy"].mean()
            axes.axhline(1 - dense, color=plots.DENSE, linewidth=1, linestyle=line, label=label)
        plots.scale(axes, x)
        words.append(_gap(main, x))
    plots.logarithm(grid[0], "y", "%")
    grid[0].set_ylabel("test error")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    says = "Magnitude keeps {} than l1-filter at equal size, and {} at equal MACs".format(*words)
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


def one_cut(frame: pd.DataFrame) -> pd.DataFrame:
    """The dense networks and the cuts nearest to half of the filters, at the rate that most runs recover with."""
    runs = frame[frame["recovery_lr"] == frame["recovery_lr"].mode()[0]]
    cuts = runs["method"].isin(["l1-filter", "random-filter"])
    half = min(runs.loc[cuts, "sparsity"], key=lambda share: abs(share - 0.5))
    return runs[(runs["method"] == "dense") | cuts & (runs["sparsity"] == half)]


def against_fine_tuning(runs: pd.DataFrame) -> pd.DataFrame:
    """Each control minus the fine-tuned network, paired by seed, best first, and what it cost.

    `runs`: one data set, one cut, one learning rate of recovery. Columns: mean, low, high, p, n, seeds,
    accuracy, `before` (the dense network's training that it builds on) and `own` (its own training), both as
    shares of the dense network's training MACs, and epochs of the latter. Nothing is corrected here.
    """
    sides = {name: runs.query(where) for name, where in CONTROLS.items()}
    sides = {name: side for name, side in sides.items() if len(side)}
    one = sides["dense"]["training_macs"].mean()
    rows = {}
    for name, side in sides.items():
        weighted, after = contrast(side, sides[REFERENCE]), side["recovery_macs"] > 0
        own = side["recovery_macs"].where(after, side["training_macs"]).mean() / one
        rows[name] = vars(compare(weighted)) | {
            "seeds": tuple(gaps(weighted)),
            "accuracy": side["accuracy"].mean(),
            "before": float(name.split(",")[0] in INHERITED and after.all()),
            "own": own,
            "epochs": (side["trained_epochs"] - side["epochs"].where(after, 0)).mean(),
        }
    return pd.DataFrame(rows).T.infer_objects().sort_values("accuracy", ascending=False)


def equal_budgets(frame: pd.DataFrame) -> Drawing:
    """What each control costs to train, and its difference from the fine-tuned network: a figure of notebook 16."""
    runs = one_cut(frame.assign(method=frame["method"].str.split(" ").str[0]))
    table = against_fine_tuning(runs)
    figure, (left, right) = plt.subplots(2, 1, figsize=(5.6, 6))
    labels = [f"{row.Index}, {row.epochs:.0f} epochs: {row.accuracy:.1%}" for row in table.itertuples()]
    costs = {"training of the dense parent": table["before"], "its own training": table["own"]}
    bars = {"stacked": True, "width": 0.8, "color": [plots.PALE, plots.PALETTE[0]]}
    pd.DataFrame(costs).set_axis(labels).plot.barh(ax=left, xlabel="training MACs (dense = 1)", **bars)
    left.invert_yaxis()
    left.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    others = table.drop(REFERENCE)
    intervals(others, right)
    names(others, others.index, right)
    right.set_xlabel("points above the fine-tuned cut")
    plots.note_n(right, table["n"])
    back, cost = (100 * table["mean"][name] for name in ("cut, rate rewound", "dense"))
    says = f"A long recovery brings back {back:.1f} of the {cost:.1f} points that a short one leaves lost"
    return Drawing(figure, says, table.reset_index(names="control"), {"sparsity": runs["sparsity"].max()})


def decision_guide(runs: pd.DataFrame) -> Drawing:
    """The guide of notebook 20 as far as runs with training settle it: a row a need, a mark a method where it loses.

    The method that loses least where a need is served is named.
    """
    settled = settle(runs).query("recover")
    rows = settled.assign(need=[textwrap.fill(need, 18) for need in settled["need"]])
    random = rows["method"].str.startswith("random")
    marked = {"loses least": rows["best"], "random": random, "ties with it": rows["tied"]}
    kinds = np.select(list(marked.values()), list(marked), "loses more")
    figure, axes = plt.subplots(figsize=(5.8, 0.72 * rows["need"].nunique() + 1.8))
    for kind, mark in MARKS.items():
        axes.plot("lost", "need", data=rows[kinds == kind], linestyle="", label=kind, **mark)
    middle = sum(axes.get_xlim()) / 2
    for best in rows[rows["best"]].itertuples():
        said = f"{best.method} ({best.at:.1f}× {RATIOS[best.x]}, n = {best.n})"
        side = "right" if best.lost > middle else "left"  # else the text would leave the axes
        above = {"xytext": (0, 9), "textcoords": "offset points"}
        axes.annotate(said, (best.lost, best.need), **above, fontsize=8.5, ha=side, color=plots.PALETTE[0])
    axes.axvline(0, color=plots.DENSE, linestyle="--", linewidth=1)
    axes.set(title=f"If {TRAINING[True]}", ylim=(rows["need"].nunique() - 0.5, -0.7))
    axes.set_xlabel("points lost, against a dense network that trained as long")
    figure.legend(loc="outside lower center", ncols=4, columnspacing=1)
    rivals = advice(settled).query("of > 0")
    clear = int((rivals["ties with"] == "-").sum())
    says = f"One method is clearly ahead of all others for {clear} of the {len(rivals)} needs"
    if not clear:
        says = "For no need is one method clearly ahead of all others"
    return Drawing(figure, says, settled)
