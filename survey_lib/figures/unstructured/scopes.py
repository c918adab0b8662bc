"""Scope and schedule of magnitude pruning: one-shot or iterative, layer by layer or over the whole network."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

from survey_lib.charts.export import Drawing
from survey_lib.charts.looks import PALETTE
from survey_lib.charts.plots import dense_line
from survey_lib.figures.unstructured.lottery_tickets import kept_axis


def scope_and_schedule(frame: pd.DataFrame) -> Drawing:
    """Test error of magnitude under each scope and schedule over the kept share: a figure of notebook 02."""
    runs = frame[frame["method"] == "magnitude"]
    runs = runs.assign(kept=1 - runs["sparsity"], error=100 * (1 - runs["accuracy"]))
    figure, axes = plt.subplots(figsize=(7.2, 3.8))
    scopes = {"hue": "scope", "hue_order": ["erk", "global", "layerwise"], "palette": PALETTE[:3]}
    schedules = {"style": "schedule", "style_order": ["one-shot", "iterative"], "markers": True}
    sns.lineplot(runs, x="kept", y="error", errorbar="sd", err_style="bars", **scopes, **schedules, ax=axes)
    dense_line(axes, 100 * (1 - runs["dense_accuracy"].mean()))
    kept_axis(axes)
    axes.set(ylabel="test error, %")
    least = runs[(runs["sparsity"] == runs["sparsity"].max()) & (runs["schedule"] == "one-shot")]
    errors = least.groupby("scope")["error"].mean()
    says = (
        f"With {least['kept'].iloc[0]:.0%} of the weights left, equal densities cost "
        f"{errors['layerwise'] - errors['erk']:.1f} points more than ERK"
    )
    groups = runs.groupby(["schedule", "scope", "sparsity"])["accuracy"]
    return Drawing(figure, says, groups.agg(["mean", "std", "count"]).reset_index())
