"""Figures of the published measurement of time and bytes (`survey speed --publish`)."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd

from survey_lib.charts import plots
from survey_lib.charts.export import Drawing
from survey_lib.experiment import speed
from survey_lib.figures.comparisons import from_mask_to_speed
from survey_lib.measure.roofline import under_roof


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


def roofline() -> Drawing:
    """Each operator of the dense and the aligned model under the machine's two ceilings."""
    layers = speed.read()["layers"]
    roofed = under_roof(layers, layers["peak"], layers["bandwidth"])
    pair = roofed[roofed["variant"].isin(["dense", "aligned"])]
    models = pair["model"].unique()
    figure, grid = plt.subplots(1, len(models), figsize=(3.7 * len(models), 3.6), sharey=True, squeeze=False)
    for axes, name in zip(grid.flat, models, strict=True):
        from_mask_to_speed.roofline(pair[pair["model"] == name], axes)
        axes.set_title(name)
    grid[0, 0].set_ylabel("GFLOP/s")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    sums = pair[pair["kind"] == "convolution"].groupby(["model", "variant"])[["flops", "seconds"]].sum()
    rate = (sums["flops"] / sums["seconds"] / 1e9).unstack("variant")
    rates = "; ".join(
        f"{name} {rate.loc[name, 'dense']:.0f} to {rate.loc[name, 'aligned']:.0f}" for name in models
    )
    text = f"Convolutions in GFLOP/s, dense (hollow) to aligned (filled): {rates}"
    plots.headline(figure, text)
    caption = f"Operators at batch 16 on one thread of {layers['machine'].iloc[0]}, under the fastest that was seen. {text}."
    columns = ["model", "variant", "operator", "kind", "intensity", "attained", "limit", "of_roof"]
    return Drawing(figure, caption, f"Scatter charts on logarithmic axes. {text}.", pair[columns])
