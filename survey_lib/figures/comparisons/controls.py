"""Drawings of controls, learning rates and what accuracy hides: who is hurt, and how sure the network is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from survey_lib.analysis.equal_compression import compare, contrast
from survey_lib.analysis.statistics import holm
from survey_lib.charts import plots
from survey_lib.charts.export import Drawing
from survey_lib.charts.intervals import intervals, names


def paired(first: pd.DataFrame, second: pd.DataFrame, metric: str = "accuracy") -> pd.Series:
    """Mean of first minus second, paired by seed, as `equal_compression.compare` finds it: mean, low, high, p, n, examples.

    >>> runs = pd.DataFrame({"seed": [0, 1, 2], "accuracy": [0.8, 0.9, 0.7]})
    >>> paired(runs, runs.assign(accuracy=runs.accuracy - 0.1))[["mean", "low", "n"]].round(2).to_dict()
    {'mean': 0.1, 'low': 0.1, 'n': 3.0}
    """
    return pd.Series(asdict(compare(contrast(first, second), metric)))


def against_one(variants: Mapping[str, pd.DataFrame], reference: str) -> pd.DataFrame:
    """`paired` differences of every variant from the reference, largest first, with p `corrected` by Holm."""
    rows = {name: paired(runs, variants[reference]) for name, runs in variants.items() if name != reference}
    table = pd.DataFrame(rows).T.sort_values("mean", ascending=False)
    return table.assign(corrected=holm(table["p"]))


def against_reference(table: pd.DataFrame, reference: str, axes: Axes) -> None:
    """Differences from a reference in points, a row a variant; hollow where it is a tie after correction."""
    intervals(table, axes)
    names(table, table.index, axes)
    axes.set_xlabel(f"accuracy minus that of {reference}, points")
    plots.note_n(axes, table["n"])


def ranges(runs: pd.DataFrame) -> pd.DataFrame:
    """At each sparsity, in points of mean accuracy: how far criteria lie apart at one learning rate, and how
    far learning rates lie apart with one criterion (the mean over the others)."""
    means = runs.pivot_table("accuracy", ["sparsity", "recovery_lr"], "method")
    criteria = (means.max(axis=1) - means.min(axis=1)).groupby("sparsity").mean()
    rates = (means.groupby("sparsity").max() - means.groupby("sparsity").min()).mean(axis=1)
    return 100 * pd.DataFrame({"between criteria": criteria, "between learning rates": rates})


def recipe_or_criterion(frame: pd.DataFrame) -> Drawing:
    """`ranges` of the runs that were recovered at several learning rates, as bars: a figure of notebook 16."""
    frame = frame.assign(method=frame["method"].str.split(" ").str[0])
    runs = frame[
        (frame["recovery"] == "finetune") & (frame["structure"] == "structured") & (frame["data"] == "digits")
    ]
    spread = ranges(runs).dropna()
    figure, axes = plt.subplots(figsize=(5.6, 3))
    for index, name in enumerate(spread):
        axes.bar(
            np.arange(len(spread)) + 0.4 * index - 0.2,
            spread[name],
            0.4,
            label=name,
            color=plots.PALETTE[index],
            hatch=plots.HATCHES[index],
        )
    axes.set_xticks(range(len(spread)), [f"{value:g}" for value in spread.index])
    axes.set(xlabel=plots.LABELS["sparsity"], ylabel="range of mean accuracies, points")
    axes.legend()
    more = int((spread["between learning rates"] > spread["between criteria"]).sum())
    text = f"The learning rate moves the result more than the criterion at {more} of {len(spread)} sparsities (n = {runs.seed.nunique()})"
    plots.headline(figure, text)
    caption = f"How far mean accuracies after recovery lie apart between criteria, and between learning rates of recovery. {text}."
    return Drawing(
        figure, caption, f"Pairs of bars at {len(spread)} sparsities. {text}.", spread.reset_index()
    )


def class_changes(changes: pd.DataFrame, axes: Axes) -> None:
    """Change of accuracy of each class, in points: a column of `changes` a method, a row a class."""
    places = np.arange(len(changes))
    for index, name in enumerate(changes):
        offset = (index - (changes.shape[1] - 1) / 2) * 0.8 / changes.shape[1]
        axes.barh(
            places + offset,
            changes[name],
            0.8 / changes.shape[1],
            label=name,
            color=plots.PALETTE[index],
            hatch=plots.HATCHES[index],
            edgecolor="white",
            linewidth=0.3,
        )
    axes.axvline(0, color=plots.DENSE, linewidth=1)
    axes.set_yticks(places, changes.index)
    axes.invert_yaxis()
    axes.set_xlabel("change of the class's accuracy, points")
    axes.legend()


def per_class(records: list[dict], names: tuple[str, ...]) -> pd.DataFrame:
    """Test accuracy of each class at the end of each run, beside data, method, sparsity, recovery and seed."""
    rows = [
        {key: record["config"][key] for key in ("data", "method", "sparsity", "recovery", "seed")}
        | dict(zip(names, record["metrics"]["recovered"]["test"]["per_class_accuracy"], strict=True))
        for record in records
    ]
    return pd.DataFrame(rows)
