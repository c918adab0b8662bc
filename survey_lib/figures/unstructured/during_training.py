"""Drawings of networks that are sparse while they train: how masks move, and what the training costs."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from survey_lib.analysis.findings import main_setting
from survey_lib.chain.selection import cubic
from survey_lib.chain.training.during import END
from survey_lib.charts import plots
from survey_lib.charts.export import Drawing
from survey_lib.methods.weight.training import WARMUP

GRID = np.linspace(0, 1, 201)
SPARSE = ("set", "rigl")  # sparse from the first step


def schedule(method: str, sparsity: float) -> np.ndarray:
    """Sparsity of a method along its training, on a grid of 201 points from start to end.

    gradual and movement follow the cubic, set and rigl are sparse throughout; all else trains dense.

    >>> schedule("gradual", 0.8)[[0, -1]].tolist(), schedule("rigl", 0.8)[0].item()
    ([0.0, 0.8], 0.8)
    """
    if method in SPARSE:
        return np.full(len(GRID), sparsity)
    if method in ("gradual", "movement"):
        return np.array([cubic(max(share - WARMUP, 0), END - WARMUP, sparsity) for share in GRID])
    return np.zeros(len(GRID))


def sparse_training_macs(runs: pd.DataFrame) -> pd.Series:
    """Training MACs if zeros were skipped: dense MACs of each stage times its mean density.

    A lower bound that no dense kernel reaches. Training with a method at work has the density of `schedule`,
    recovery and training on a fixed mask the final one. A random mask trained from the start needs no dense
    network, which its runs were charged for; RigL's occasional dense gradients are left out.
    """
    density = pd.Series([_density(row) for row in runs.itertuples()], runs.index)
    before = runs["training_macs"] - runs["recovery_macs"]
    return before * density + runs["recovery_macs"] * (1 - runs["sparsity"])


def _density(row) -> float:
    """Mean density of what a run trains before its recovery."""
    if row.recovery == "scratch-e":
        return 0.0
    return 1 - schedule(row.method, row.sparsity).mean() if row.when == "during" else 1.0


def lifelines(shares: Mapping[str, pd.DataFrame], axes: Axes) -> None:
    """Share of all weights alive at each step, and share that was ever alive: a colour a method.

    shares: method -> frame with columns alive and ever, a row a step.
    """
    for (name, table), color in zip(shares.items(), plots.PALETTE, strict=False):
        steps = np.arange(1, len(table) + 1)
        axes.plot(steps, table["ever"], color=color, label=f"{name}: was ever alive")
        axes.plot(steps, table["alive"], color=color, linestyle="--", label=f"{name}: alive now")
    axes.set(xlabel="training step", ylabel="share of all weights", ylim=(0, None))
    axes.legend()


def spent(frame: pd.DataFrame) -> Drawing:
    """Accuracy of each method against the training MACs it would spend if zeros were skipped, at one sparsity."""
    label, main = main_setting(frame)
    dense = main[main["method"] == "dense"]
    pruned = main[main["method"] != "dense"]
    sparsity = pruned.groupby("sparsity")["method"].nunique().pipe(lambda counts: counts[counts == counts.max()].index[-1])
    pruned = pruned[pruned["sparsity"] == sparsity]
    runs = pd.concat([pruned, dense.assign(
        method=dense["recovery"].map({"none": "dense", "finetune": "dense, trained longer"}))])  # fmt: skip
    bare = runs.assign(method=runs["method"].str.partition(" ")[0])
    runs = runs.assign(macs=sparse_training_macs(bare) / dense.loc[dense["recovery"] == "none", "training_macs"].mean())
    table = runs.groupby("method").agg(macs=("macs", "mean"), accuracy=("accuracy", "mean"), std=("accuracy", "std"),
                                       n=("accuracy", "count")).reset_index()  # fmt: skip
    figure, axes = plt.subplots(figsize=(6.8, 4))
    for name, style in plots.looks(list(table["method"])).items():
        row = table.set_index("method").loc[name]
        axes.errorbar(row["macs"], row["accuracy"], row["std"], linestyle="", label=name, capsize=2, **style)
    axes.set(xlabel="training MACs if zeros were skipped (dense training = 1)", ylabel=plots.LABELS["accuracy"],
             xscale="log")  # fmt: skip
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    plots.note_n(axes, table["n"])
    ahead = table[table["method"].str.partition(",")[0] != "dense"].sort_values("accuracy").iloc[-1]
    cheap = table[table["macs"] < 0.1].sort_values("accuracy").tail(1)
    text = f"At sparsity {sparsity:g}, {ahead['method']} leads ({ahead['accuracy']:.1%})" + "".join(
        f"; below a tenth of the dense MACs {row.method} does ({row.accuracy:.1%})" for row in cheap.itertuples()
    )
    plots.headline(figure, text)
    caption = f"Accuracy against theoretical training MACs, mean and standard deviation over seeds, {label}. {text}."
    return Drawing(figure, caption, caption, table)
