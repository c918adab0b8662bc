"""What filters, blocks and heads cost and gain, and what a language model loses, for the notebooks 07 and 11 to 14."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from survey_lib.analysis.statistics import difference
from survey_lib.analysis.tables import main_setting
from survey_lib.charts import plots
from survey_lib.charts.export import Drawing
from survey_lib.charts.plots import DENSE, GREY, PALE, PALETTE
from survey_lib.experiment import speed

SHARE = 0.3  # of the filters: at larger shares the networks as cut are all close to chance
STAGES = {
    "pruned_accuracy": "as cut",
    "recalibrated_accuracy": "batch norm measured again",
    "accuracy": "after recovery",
}
SCOPES = {"layerwise": "the same share of every layer", "global": "ranked over the network"}
METRICS = {"written_loss": "loss on stories by hand, nats", "divergence": "KL from dense, own text, nats"}
SINGLE = ("random", "magnitude", "sparsegpt")  # methods for single weights beside what is cut out
STEPS = [("dense", "eager"), ("masked", "eager"), ("cut", "eager")]
STEPS += [("aligned", runtime) for runtime in ("eager", "compiled", "onnx", "onnx int8")]
RUNTIMES = {"eager": "", "compiled": ", compiled", "onnx": ", ONNX Runtime", "onnx int8": ", ONNX int8"}


def criteria(frame: pd.DataFrame) -> Drawing:
    """Test error of every filter criterion: as cut, with batch norm measured again, after recovery: notebook 07.

    Criteria that rank filters within each layer stand above those that rank the whole network.
    """
    runs = frame[(frame["category"] == "filter") & (frame["sparsity"] == SHARE)]
    runs = runs.assign(method=runs["method"].str.partition(" ")[0])  # one setting each at this share
    error = 1 - runs.groupby(["scope", "method"])[list(STAGES)].mean()
    error = error.sort_values(["scope", "recalibrated_accuracy"], ascending=[False, True])
    figure, axes = plt.subplots(figsize=(5.6, 4.4))
    scopes, methods = (error.index.get_level_values(name) for name in ("scope", "method"))
    at = pd.Series(np.arange(len(error)) + 0.7 * (scopes == "global"), methods)
    axes.hlines(at, error.min(axis=1), error.max(axis=1), color=GREY, linewidth=1, zorder=1)
    for (stage, label), marker, colour in zip(STAGES.items(), "osD", PALETTE, strict=False):
        axes.scatter(1 - runs[stage], runs["method"].map(at), s=6, color=colour, alpha=0.35)
        axes.plot(error[stage], at, marker, color=colour, label=label)
    for scope in scopes.unique():
        where = (0.99, at[scopes == scope].min() - 0.35)
        axes.text(*where, SCOPES[scope], transform=axes.get_yaxis_transform(), ha="right", fontsize=7)
    axes.set_yticks(at, methods)
    axes.invert_yaxis()
    axes.axvline(1 - runs["dense_accuracy"].mean(), color=DENSE, linestyle="--", linewidth=1, label="dense")
    plots.logarithm(axes, "x", "%")
    axes.set_xlabel("test error")
    figure.legend(loc="outside lower center", ncols=2)
    cut, measured, recovered = 100 * (error.max() - error.min())
    again = f"{measured:.0f} with batch norm measured again, {recovered:.1f} after recovery"
    about = runs.iloc[0][["model", "data"]].to_dict() | {"share": SHARE, "seeds": runs["seed"].nunique()}
    data = error.rename(columns=STAGES).reset_index()
    return Drawing(figure, f"Criteria are {cut:.0f} points apart as cut, {again}", data, about)


def depth_against_width(frame: pd.DataFrame) -> Drawing:
    """Error against theoretical speed-up right after the cut and after recovery, on the pair of most runs: notebook 11."""
    where, main = main_setting(frame.query("recovery == 'finetune' and structure == 'structured'"))
    figure, grid = plt.subplots(2, 1, figsize=(5.6, 6), sharex=True, sharey=True)
    tables, words = {}, []
    stages = {"right after the cut": "pruned_accuracy", "after recovery": "accuracy"}
    for axes, (title, metric) in zip(grid, stages.items(), strict=True):
        runs = main.assign(error=1 - main[metric])
        tables[title] = plots.lines(runs, axes, "speedup_theoretical", "error")
        axes.set_title(title)
        plots.logarithm(axes, "y", "%")
        words.append(f"{title} {_verdict(main, metric)}")
    grid[0].set_xlabel("")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, columnspacing=1)
    says = "; ".join(words)
    data = pd.concat(tables, names=["panel"]).reset_index("panel")
    return Drawing(figure, says[0].upper() + says[1:], data, {"where": where})


def _verdict(runs: pd.DataFrame, metric: str) -> str:
    """What the interval says of blocks left out, against layers narrowed at equal MACs."""
    found = difference(runs, "block-influence", "l1-filter", "speedup_theoretical", metric)
    if found.low <= 0 <= found.high:
        return "leaving out blocks and narrowing layers tie"
    word = "better" if found.mean > 0 else "worse"
    return f"leaving out blocks is {abs(100 * found.mean):.0f} points {word} than narrowing layers"


def staircase_table(chain: pd.DataFrame, model: str) -> pd.DataFrame:
    """The steps from dense to runtime in order, those that were measured, at batch 16 on one thread.

    Parameters
    ----------
    chain : pd.DataFrame
        The published timings.
    model : str
        Name of the model.

    Returns
    -------
    pd.DataFrame
        One row a step: ms, MB, and * pruning: speed-up over the dense model in the same runtime, with
        bounds low and high * everything: speed-up over the dense model in eager mode, so runtime and
        pruning together * theoretical: dense MACs / kept MACs.
    """
    rows = speed.within_runtime(chain).query("model == @model and batch == 16 and threads == 1")
    rows = rows.set_index(["variant", "runtime"])
    found = rows.loc[[step for step in STEPS if step in rows.index]]
    steps = pd.Index([variant + RUNTIMES[runtime] for variant, runtime in found.index], name="step")
    names = {"pruning_low": "low", "pruning_high": "high"}
    names |= {"speedup_measured": "everything", "speedup_theoretical": "theoretical"}
    table = found.rename(columns=names).assign(ms=1e3 * found["median_s"], MB=found["file_bytes"] / 1e6)
    return table.set_axis(steps)[["pruning", "low", "high", "everything", "theoretical", "ms", "MB"]]


def staircase() -> Drawing:
    """What pruning gains in each runtime beside the MACs saved, and the file's size: the figure of notebook 12.

    It is drawn from the published measurement (`survey speed --publish`). The band runs from the lowest to the highest
    speed-up of models that do the same work as the dense one. The truth is 1 for these, so the benchmark cannot see a
    difference inside it.
    """
    chain = speed.read()["chain"]
    same = chain.query("variant in ['masked', '2:4', '1x4'] and threads == 1 and batch >= 16")
    tables = {name: staircase_table(chain, name) for name in chain["model"].unique()}
    shape = {"figsize": (5.8, 3.14 * len(tables)), "width_ratios": (3, 1)}
    figure, grid = plt.subplots(len(tables), 2, sharey="row", squeeze=False, **shape)
    for (model, table), (left, right) in zip(tables.items(), grid, strict=True):
        left.axvspan(*same["speedup_measured"].agg(["min", "max"]), color=PALE, label="too small to see")
        left.barh(table.index, table["pruning"], color=PALETTE[0], height=0.6, label="gained by pruning")
        left.hlines(table.index, table["low"], table["high"], color=DENSE, linewidth=1)
        left.plot(table["theoretical"], table.index, "D", color=PALETTE[1], label="MACs saved")
        left.axvline(1, color=DENSE, linestyle="--", linewidth=1)
        left.set(title=model, xlabel="speed-up over dense, same runtime", ylim=(len(table) - 0.5, -0.5))
        right.barh(table.index, table["MB"], color=GREY, height=0.6)
        right.bar_label(right.containers[0], fmt="%.2g", padding=2)
        right.set(xlabel="file, MB", xlim=(0, 1.5 * table["MB"].max()))
        left.grid(axis="y", visible=False)
        right.grid(axis="y", visible=False)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, columnspacing=1)
    data = pd.concat(tables, names=["model"]).reset_index()
    aligned = data.loc[data["step"].str.startswith("aligned"), "pruning"]
    gained = f"{aligned.min():.1f} to {aligned.max():.1f} times as fast"
    says = f"A mask saves no time; an aligned cut to a quarter of the MACs is {gained}"
    return Drawing(figure, says, data, chain[["machine", "torch"]].iloc[0].to_dict())


def losses(frame: pd.DataFrame) -> Drawing:
    """Loss on the written stories, and divergence on the dense model's own text, over sparsity: notebook 13."""
    pruned = frame.query("structure == 'unstructured' and pattern == ''")
    figure, grid = plt.subplots(2, 1, figsize=(5.6, 6.2), sharex=True)
    tables = []
    for (metric, label), axes in zip(METRICS.items(), grid, strict=True):
        table = plots.lines(pruned, axes, "sparsity", metric, err_style="bars")
        tables.append(table.assign(metric=metric))
        plots.logarithm(axes, "y")
        axes.set(xlabel="sparsity of the linear layers", ylabel=label)
    plots.dense_line(grid[0], frame.loc[frame["method"] == "dense", "written_loss"].mean())
    grid[0].set(xlabel="", ylim=(1, None))
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    half = pruned[np.isclose(pruned["sparsity"], 0.5) & (pruned["method"] != "random")]
    half = half.groupby("method")["divergence"].mean()
    far = f"{half['magnitude'] / half.min():.1f} times as far from the dense model as the best method"
    says = f"With half of the weights gone, magnitude is {far}"
    return Drawing(figure, says, pd.concat(tables, ignore_index=True))


def structures(frame: pd.DataFrame) -> Drawing:
    """Loss against compression of the whole model: single weights beside heads, FFN channels, blocks: notebook 14."""
    pruned = frame.query("structure == 'structured' or (method in @SINGLE and pattern == '')")
    cut = set(pruned.loc[pruned["structure"] == "structured", "method"])
    dots = {"linestyle": ":", "markersize": 3}
    looks = plots.looks(set(pruned["method"])).items()
    styles = {name: look | ({} if name in cut else dots) for name, look in looks}
    figure, axes = plt.subplots(figsize=(5.6, 4.6))
    table = plots.lines(pruned, axes, "compression", "loss", err_style="bars", styles=styles)
    plots.dense_line(axes, frame.loc[frame["method"] == "dense", "loss"].mean())
    plots.logarithm(axes, "y")
    axes.set(xscale="linear", ylabel="loss, nats a token", ylim=(1, None))
    axes.xaxis.set_major_formatter("{x:g}×")
    figure.legend(loc="outside lower center", ncols=3)
    parts = table[table["method"].isin(cut)]
    single = table[table["method"] == "magnitude"]
    more = (parts["mean"] > np.interp(parts["x"], single["x"], single["mean"])).sum()
    share = "every size" if more == len(parts) else f"{more} of {len(parts)} sizes"
    says = f"At {share}, cutting out parts adds more loss than removing single weights by magnitude"
    return Drawing(figure, says, table)
