"""The figure of networks that are sparse while they train: how much they get wrong, and who lets its mask move."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd

from survey_lib.charts.export import Drawing
from survey_lib.charts.plots import headline
from survey_lib.figures.unstructured.lottery_tickets import over_sparsity


def lines_of(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The runs of each line of the figure; methods may carry the names of their variants in brackets."""
    pruned = frame[frame["sparsity"] > 0]
    method, recovery = pruned["method"].str.split(" ").str[0], pruned["recovery"]
    lines = {"random, fixed": pruned[(method == "random") & (recovery == "scratch-e")]}
    lines |= {name: pruned[(method == name) & (recovery == "none")] for name in ("set", "rigl", "gradual")}
    after = {"magnitude after": "layerwise", "global magnitude after": "global"}
    magnitude = pruned[method == "magnitude"]
    return lines | {name: magnitude[magnitude["scope"] == scope] for name, scope in after.items()}


def moving(frame: pd.DataFrame) -> Drawing:
    """Test error of masks that never move, that move, and that thin a dense network: the figure of notebook 06."""
    figure, axes = plt.subplots(figsize=(6, 4.4))
    table = over_sparsity(lines_of(frame), axes)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    last = table[table["sparsity"] == table["sparsity"].max()].set_index("line")["mean"]
    text = (
        f"With {1 - table['sparsity'].max():.0%} of the weights a fixed random mask gets "
        f"{last['random, fixed']:.1%} wrong, one that follows the gradient {last['rigl']:.1%}"
    )
    headline(figure, text)
    caption = (
        f"Test error over the kept share, mean and standard deviation over seeds, dense level dashed. {text}."
    )
    return Drawing(figure, caption, f"{len(last)} lines over the kept share of the weights. {text}.", table)
