"""Scope and schedule of magnitude pruning: one-shot or iterative, layer by layer or over the whole network."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd

from survey_lib.charts import plots
from survey_lib.charts.export import Drawing
from survey_lib.figures.unstructured.lottery_tickets import kept_axis


def scope_and_schedule(frame: pd.DataFrame) -> Drawing:
    """Accuracy of magnitude under each scope and schedule over the kept share: a figure of notebook 02."""
    runs = frame[frame["method"].str.split(" ").str[0] == "magnitude"]
    table = runs.groupby(["schedule", "scope", "sparsity"])["accuracy"].agg(["mean", "std", "count"]).reset_index()
    figure, axes = plt.subplots(figsize=(6.2, 3.6))
    colors = dict(zip(sorted(table["scope"].unique()), plots.PALETTE, strict=False))
    for (schedule, scope), rows in table.groupby(["schedule", "scope"]):
        axes.errorbar(1 - rows["sparsity"], rows["mean"], rows["std"], capsize=2, label=f"{schedule}, {scope}", color=colors[scope],
                      marker="o" if schedule == "one-shot" else "s", linestyle="-" if schedule == "one-shot" else "--")  # fmt: skip
    plots.dense_line(runs, axes)
    plots.note_n(axes, table["count"])
    kept_axis(axes, sorted(table["sparsity"].unique()))
    axes.set_ylabel(plots.LABELS["accuracy"])
    axes.legend(fontsize=7)
    last = table[table["sparsity"] == table["sparsity"].max()].set_index(["schedule", "scope"])["mean"]
    best, worst = (f"{', '.join(last.index[place])} ({last.iloc[place]:.0%})" for place in (last.argmax(), last.argmin()))
    text = f"With {1 - table['sparsity'].max():.0%} kept {best} leads, {worst} trails"
    plots.headline(figure, text)
    caption = ("Test accuracy of magnitude pruning by scope and schedule; mean and standard deviation over seeds, dense level "
               f"dashed. {text}.")  # fmt: skip
    return Drawing(figure, caption, f"{len(last)} lines over the kept share of the weights. {text}.", table)
