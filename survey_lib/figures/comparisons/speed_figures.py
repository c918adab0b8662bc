"""The figure of the published measurement of time and bytes (`survey speed --publish`)."""

from __future__ import annotations

import pandas as pd

from survey_lib.charts import plots
from survey_lib.charts.export import Drawing
from survey_lib.experiment import speed
from survey_lib.figures.comparisons import from_mask_to_speed


def staircase() -> Drawing:
    """What pruning gains in each runtime beside the MACs saved, and the file's size, from dense to runtime."""
    chain = speed.read()["chain"]
    tables = {name: from_mask_to_speed.staircase_table(chain, name) for name in chain["model"].unique()}
    figure = from_mask_to_speed.staircase(tables, from_mask_to_speed.resolution(chain))
    gains = {name: table.loc["aligned":, "pruning"] for name, table in tables.items()}
    parts = [f"{one.min():.1f} to {one.max():.1f}× on {name}" for name, one in gains.items()]
    low, high = min(map(min, gains.values())), max(map(max, gains.values()))
    text = f"A mask saves no time; an aligned cut to a quarter of the MACs is {low:.1f} to {high:.1f} times as fast"
    plots.headline(figure, text)
    where = f"{chain['machine'].iloc[0]}, torch {chain['torch'].iloc[0]}, batch 16, one thread"
    caption = (
        f"Speed-up over the dense model in the same runtime, {where}. Whiskers: quartiles of rounds in turns. Band: "
        f"the range of masked models, which do the work of the dense one. {text}: {', '.join(parts)}."
    )
    data = pd.concat(tables, names=["model"]).reset_index()
    return Drawing(figure, caption, f"Two bar charts a model, one bar a step. {text}.", data)
