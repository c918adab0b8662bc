"""Figures of studies that prune single weights, for the notebooks 02 to 06."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

from survey_lib.analysis.statistics import TooFew, difference
from survey_lib.charts import plots
from survey_lib.charts.export import Drawing
from survey_lib.charts.plots import DENSE, GREY, MARKERS, PALETTE

STAGES = {"none": "without recovery", "finetune": "after recovery"}
TICKETS = ("original", "shuffled", "reinitialised")
LINES = {
    "random, fixed": "method == 'random' and recovery == 'scratch-e'",
    "set": "method == 'set' and recovery == 'none'",
    "rigl": "method == 'rigl' and recovery == 'none'",
    "gradual": "method == 'gradual' and recovery == 'none'",
    "layerwise magnitude after": "method == 'magnitude' and scope == 'layerwise'",
    "global magnitude after": "method == 'magnitude' and scope == 'global'",
}


def scope_and_schedule(frame: pd.DataFrame) -> Drawing:
    """Test error of magnitude under each scope and schedule over the kept share: a figure of notebook 02."""
    runs = frame[frame["method"] == "magnitude"].sort_values(["scope", "schedule"], ascending=[True, False])
    runs = runs.assign(kept=1 - runs["sparsity"], error=100 * (1 - runs["accuracy"]))
    figure, axes = plt.subplots(figsize=(7.2, 3.8))
    look = {"hue": "scope", "style": "schedule", "markers": True}
    sns.lineplot(runs, x="kept", y="error", errorbar="sd", err_style="bars", **look)
    plots.dense_line(axes, 100 * (1 - runs["dense_accuracy"].mean()))
    _kept_axis(axes)
    axes.set(ylabel="test error, %")
    least = runs[(runs["sparsity"] == runs["sparsity"].max()) & (runs["schedule"] == "one-shot")]
    errors = least.groupby("scope")["error"].mean()
    cost = f"{errors['layerwise'] - errors['erk']:.1f} points more than ERK"
    says = f"With {least['kept'].iloc[0]:.0%} of the weights left, equal densities cost {cost}"
    groups = runs.groupby(["schedule", "scope", "sparsity"])["accuracy"]
    return Drawing(figure, says, groups.agg(["mean", "std", "count"]).reset_index())


def _kept_axis(axes: plt.Axes) -> None:
    """The kept share on a logarithm, much kept on the left."""
    plots.logarithm(axes, "x", "%")
    axes.invert_xaxis()
    axes.set_xlabel("kept weights")


def recipe(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs of study `saliency` with the smallest amount of evidence, named "method, scope"."""
    main = frame[frame["evidence"] == frame["evidence"].min()]
    dense = main["method"] == "dense"
    return main.assign(method=main["method"].where(dense, main["method"] + ", " + main["scope"]))


def _styles(main: pd.DataFrame) -> dict[str, dict]:
    """The look of each criterion, dashed where it ranks each layer by itself."""
    looks = plots.looks(set(main["method"]) - {"dense"})
    return {name: look | {"linestyle": "--" if "layerwise" in name else "-"} for name, look in looks.items()}


def before_and_after(frame: pd.DataFrame) -> Drawing:
    """Error against compression of every criterion, without recovery and after it: a figure of notebook 03."""
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
    """Points above magnitude of the same scope, paired by seed, without recovery and after it: notebook 03."""
    main = recipe(frame)
    figure, grid = plt.subplots(1, 2, figsize=(9, 3.8))
    styles, tables, clear = _styles(main), {}, []
    for axes, (stage, title) in zip(grid, STAGES.items(), strict=True):
        tables[title] = table = _gains_of(main[main["recovery"] == stage])
        for number, (name, rows) in enumerate(table.groupby("method")):
            beside = rows["sparsity"] + 0.007 * (number - 1)  # so that they do not hide each other
            reach = rows["high"] - rows["mean"]
            axes.errorbar(beside, rows["mean"], reach, capsize=2, label=name, **styles[name])
        axes.axhline(0, color=DENSE, linestyle="--", linewidth=1)
        axes.set(title=title, xlabel=plots.LABELS["sparsity"], ymargin=0.12)
        plots.note_n(axes, table["n"])
        ahead = sorted({name.partition(", ")[0] for name in table.loc[table["low"] > 0, "method"]})
        clear.append(f"only {' and '.join(ahead)}" if ahead else "no criterion")
    grid[0].set_ylabel("minus magnitude, points")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    says = "{} is clearly above magnitude without recovery, and {} after it".format(*clear).capitalize()
    return Drawing(figure, says, pd.concat(tables, names=["stage"]).reset_index("stage"))


def _gains_of(runs: pd.DataFrame) -> pd.DataFrame:
    """Rows method, sparsity, mean, low, high, n: points above the magnitude of the method's own scope."""
    rows = []
    pruned = runs[~runs["method"].str.startswith(("random", "magnitude", "dense"))]
    for name, scope, sparsity in pruned.groupby(["method", "scope", "sparsity"]).groups:
        found = difference(runs[runs["sparsity"] == sparsity], name, f"magnitude, {scope}")
        if found.n > 1:
            points = (100 * end for end in (found.mean, found.low, found.high))
            rows.append((name, sparsity, *points, found.n))
    if not rows:
        raise TooFew("no setting has two seeds with both methods, so there is no interval to draw")
    return pd.DataFrame(rows, columns=["method", "sparsity", "mean", "low", "high", "n"])


def over_sparsity(lines: Mapping[str, pd.DataFrame], axes: plt.Axes) -> pd.DataFrame:
    """Test error over the kept share, one line with its band a name; names that start with `random` are grey.

    The kept share is on a logarithm, and so are errors that differ by more than a factor of three. The dense error is
    dashed.

    Parameters
    ----------
    lines : Mapping[str, pd.DataFrame]
        Name -> runs, with sparsity, seed, accuracy and dense_accuracy.
    axes : plt.Axes
        Where to draw.

    Returns
    -------
    pd.DataFrame
        What was drawn.
    """
    runs = pd.concat(lines, names=["line"]).reset_index("line")
    order = pd.Categorical(runs["line"], list(lines))
    runs = runs.assign(line=order, kept=1 - runs["sparsity"], error=1 - runs["accuracy"])
    styles = {
        name: {"color": GREY if name.startswith("random") else PALETTE[place], "marker": MARKERS[place]}
        for place, name in enumerate(lines)
    }
    table = plots.lines(runs, axes, "kept", "error", "line", styles=styles)
    _kept_axis(axes)
    axes.set_ylabel("test error")
    axes.yaxis.set_major_formatter("{x:.1%}")
    if table["mean"].max() > 3 * table["mean"].min():
        plots.logarithm(axes, "y", "%")
    return table[["sparsity", "mean", "std", "n", "line"]]


def early(frame: pd.DataFrame) -> Drawing:
    """Masks found before training, as found, shuffled and on new weights: the figure of notebook 04."""
    toy = _most(frame, "data")
    methods = sorted(set(toy.loc[toy["ticket"] == "shuffled", "method"]))
    random = toy.query("method == 'random' and recovery == 'scratch-e' and scope == 'layerwise'")
    figure, grid = plt.subplots(1, len(methods), figsize=(2.9 * len(methods), 3.4), sharey=True)
    tables = []
    for method, axes in zip(methods, grid, strict=True):
        rows = toy[toy["method"] == method]
        lines = {ticket: rows[rows["ticket"] == ticket] for ticket in TICKETS}
        tables.append(over_sparsity(lines | {"random, from the start": random}, axes).assign(method=method))
        axes.set(title=method, ylabel="test error" if method == methods[0] else "")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    table = pd.concat(tables, ignore_index=True)
    end = table["sparsity"].max()
    means = table[table["sparsity"] == end].pivot_table("mean", "method", "line", observed=True)
    costs = 100 * (means["shuffled"] - means["original"])
    says = f"With {1 - end:.0%} of the weights, shuffling a mask costs {costs.min():.0f} to {costs.max():.0f} points"
    return Drawing(figure, says, table)


def _most(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """The runs with the most frequent value of a column."""
    return frame[frame[column] == frame[column].mode()[0]]


def winning(frame: pd.DataFrame) -> Drawing:
    """Winning tickets, their masks shuffled and with new weights, over sparsity: the figure of notebook 05."""
    imp = _most(frame, "data").query("method == 'imp' and recovery == 'rewind'")
    imp = _most(imp, "rewind_epoch")  # the sweep of rewind points is another figure
    figure, axes = plt.subplots(figsize=(6.4, 3.7))
    table = over_sparsity({ticket: imp[imp["ticket"] == ticket] for ticket in TICKETS}, axes)
    axes.legend()
    end = imp.loc[imp["ticket"] == "shuffled", "sparsity"].max()  # the rounds go on without controls
    last = table[table["sparsity"] == end].set_index("line")["mean"]
    ticket, shuffled, new = (f"{last[name]:.1%}" for name in TICKETS)
    wrong = f"the ticket gets {ticket} wrong, its mask on new weights {new}, shuffled {shuffled}"
    return Drawing(figure, f"With {1 - end:.0%} of the weights {wrong}", table)


def lines_of(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The runs of each row of the figure of sparse training."""
    pruned = frame.query("sparsity > 0 and inputs == 'normalised'")
    return {name: pruned.query(where) for name, where in LINES.items()}


def moving(frame: pd.DataFrame) -> Drawing:
    """Test error of masks that never move, that move, and that thin a dense network: the figure of notebook 06."""
    rows = pd.concat(lines_of(frame), names=["line"]).reset_index("line").eval("error = 1 - accuracy")
    rows["kept"] = [f"{1 - sparsity:.0%} of the weights" for sparsity in rows["sparsity"]]
    table = rows.groupby(["line", "sparsity", "kept"])["error"].agg(["mean", "std", "count"]).reset_index()
    last = table[table["sparsity"] == table["sparsity"].max()].set_index("line")["mean"].sort_values()
    figure, axes = plt.subplots(figsize=(6, 4.2))
    look = {"hue": "kept", "dodge": 0.3, "linestyle": "none", "errorbar": "sd", "capsize": 0.15}
    sns.pointplot(rows, x="error", y="line", order=last.index[::-1], **look)
    dense = 1 - rows["dense_accuracy"].mean()
    axes.axvline(dense, color=DENSE, linestyle="--", label="dense network")
    axes.set(xlabel="test error", ylabel="", xlim=(dense - 0.005, None))
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1), ncols=2)
    plots.note_n(axes, table["count"])
    named = {"random, fixed": "a fixed mask", "rigl": "RigL", "set": "SET"}
    errors = ", ".join(f"{name} {last[line]:.1%}" for line, name in named.items())
    return Drawing(figure, f"Wrong with {1 - table['sparsity'].max():.0%} of the weights: {errors}", table)
