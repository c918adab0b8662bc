"""The catalogue of figures: what each one asks, and how it is drawn. Titles, captions and alt texts are computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import matplotlib.pyplot as plt
import pandas as pd

from survey_lib.publish import plots, rankings, schematics, surveyed
from survey_lib.publish.sheet import Drawing
from survey_lib.publish.statistics import mean_ranks_by, rank_stability, ranking


@dataclass(frozen=True)
class Entry:
    """A figure of the catalogue: how it is drawn, from which study (none: from catalogue or literature), and where."""

    draw: Callable[..., Drawing]
    notebook: str
    question: str
    study: str = ""


def setting(frame: pd.DataFrame) -> pd.Series:
    """The (data, model) pair of each run, as one label."""
    return frame["data"] + ", " + frame["model"]


def main_setting(frame: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """The (data, model) pair with the most runs, and its runs."""
    labels = setting(frame)
    label = labels.value_counts().sort_index().idxmax()
    return label, frame[labels == label]


def leaders(frame: pd.DataFrame) -> list[str]:
    """The baselines, and the best method of each category by mean accuracy."""
    pruned = frame[frame["method"] != "dense"]
    means = pruned.groupby(["category", "method"])["accuracy"].mean()
    best = [name for _, name in means.groupby(level="category").idxmax()]
    baselines = [name for name in set(pruned["method"]) if name in ("random", "magnitude", "random-filter", "l1-filter")]
    return sorted({*best, *baselines})


def finding(frame: pd.DataFrame) -> str:
    """What the table says at the strongest sparsity that all its methods share, in one line."""
    pruned = frame[frame["method"] != "dense"]
    shared = set.intersection(*(set(rows["sparsity"]) for _, rows in pruned.groupby("method")))
    if not shared:
        return "The methods share no sparsity"
    at = pruned[pruned["sparsity"] == max(shared)].groupby("method")["accuracy"].mean()
    return f"At sparsity {max(shared):g} the best is {at.idxmax()} ({at.max():.1%}), the worst {at.idxmin()} ({at.min():.1%})"


def _curves(frame: pd.DataFrame, x: str) -> Drawing:
    labels = setting(frame)
    panels = {label: (frame[labels == label], leaders(frame[labels == label])) for label in sorted(set(labels))}
    figure, table = plots.small_multiples(panels, x=x)
    label, main = main_setting(frame)
    plots.headline(figure, f"{finding(main)} ({label})")
    caption = (
        f"Test accuracy against {plots.LABELS[x]} for {frame['method'].nunique()} methods on {len(panels)} pairs of data and "
        f"model; mean and standard deviation over seeds, dense level dashed, random grey. {finding(main)} on {label}."
    )
    return Drawing(figure, caption, f"Line charts, one panel a pair of data and model. {finding(main)}.", table)


def frontier(frame: pd.DataFrame) -> Drawing:
    return _curves(frame, "compression")


def speedup(frame: pd.DataFrame) -> Drawing:
    return _curves(frame, "speedup_theoretical")


def categories(frame: pd.DataFrame) -> Drawing:
    label, main = main_setting(frame)
    names = main.loc[main["method"] != "dense"].groupby("category")["method"].unique()
    figure, table = plots.small_multiples({title: (main, sorted(methods)) for title, methods in names.items()})
    best = {title: finding(main[main["category"] == title]) for title in names.index}
    plots.headline(figure, f"{finding(main)} ({label})")
    caption = f"Accuracy against compression on {label}, one panel a category, the others pale. {finding(main)}."
    return Drawing(figure, caption, " ".join(f"{title}: {text}." for title, text in best.items()), table)


def critical(frame: pd.DataFrame) -> Drawing:
    found = ranking(frame)
    figure, axes = plt.subplots(figsize=(5.6, 0.27 * len(found.ranks) + 1.6))
    rankings.critical_difference(found.ranks, found.critical_difference, axes)
    first, last = found.ranks.index[0], found.ranks.index[-1]
    tied = [name for name in found.ranks.index[1:] if not found.apart(first, name)]
    text = f"{first} ranks first; {len(tied)} of {len(found.ranks) - 1} others cannot be told from it"
    plots.headline(figure, text)
    caption = (
        f"Mean ranks over {found.settings} settings (data, model, sparsity, seed); Friedman p = {found.p_value:.2g}, "
        f"Nemenyi critical difference {found.critical_difference:.2f} at 0.05. {text}; {last} ranks last."
    )
    return Drawing(figure, caption, caption, found.ranks.rename("mean_rank").reset_index())


def stability(frame: pd.DataFrame) -> Drawing:
    ranks = mean_ranks_by(frame, "sparsity")
    tau = rank_stability(frame, "sparsity")
    figure, axes = plt.subplots(figsize=(5.6, 0.25 * len(ranks) + 1.4))
    rankings.bump(ranks, axes)
    text = f"Mean Kendall τ between the orders at two sparsities: {tau:.2f}"
    plots.headline(figure, text)
    caption = f"Mean rank of each method at each sparsity. {text} (1 = one order everywhere)."
    return Drawing(figure, caption, caption, ranks.reset_index().melt("method", value_name="mean_rank"))


def cost(frame: pd.DataFrame) -> Drawing:
    """Accuracy lost at each sparsity beside the seeds' own spread of the dense network."""
    label, main = main_setting(frame)
    pruned = main[main["method"] != "dense"].assign(drop=lambda rows: rows["dense_accuracy"] - rows["accuracy"])
    table = pruned.pivot_table("drop", "method", "sparsity")
    table = table.loc[table.mean(axis=1).sort_values().index]
    noise = main.drop_duplicates("seed")["dense_accuracy"].std()
    figure, axes = plt.subplots(figsize=(5.2, 0.24 * len(table) + 1.4))
    image = axes.imshow(table * 100, aspect="auto", cmap="cividis_r")
    axes.set_xticks(range(table.shape[1]), [f"{value:g}" for value in table.columns])
    axes.set_yticks(range(len(table)), table.index)
    axes.set_xlabel(plots.LABELS["sparsity"])
    axes.grid(False)
    figure.colorbar(image, label="accuracy lost, points")
    text = f"{int((table < noise).to_numpy().sum())} of {table.size} cells lose less than the dense spread over seeds"
    plots.headline(figure, text)
    caption = f"Accuracy lost against the dense network of the same seed on {label}. {text} ({noise * 100:.2f} points)."
    return Drawing(figure, caption, caption, table.reset_index().melt("method", value_name="accuracy_lost"))


FIGURES: dict[str, Entry] = {
    "frontier": Entry(frontier, "14", "How much accuracy is left at each compression?", "comparison"),
    "frontier-speedup": Entry(speedup, "14", "And at each theoretical speed-up?", "comparison"),
    "categories": Entry(categories, "14", "Which method leads within each category?", "comparison"),
    "ranking": Entry(critical, "14", "Which methods can be told apart?", "comparison"),
    "rank-stability": Entry(stability, "14", "Does the order of methods survive a change of sparsity?", "comparison"),
    "accuracy-lost": Entry(cost, "14", "Where is the loss above the noise of the seeds?", "comparison"),
    "taxonomy": Entry(schematics.taxonomy, "00", "Which kinds of pruning are there?"),
    "map-of-methods": Entry(schematics.map_of_methods, "00", "What does each method remove, and when?"),
    "patterns": Entry(schematics.patterns, "10", "What does one matrix look like at each granularity?"),
    "coupled-channels": Entry(schematics.coupled_channels, "09", "Which channels must go together?"),
    "published-baselines": Entry(surveyed.published_baselines, "16", "How far do published dense accuracies differ?"),
    "published-changes": Entry(surveyed.published_changes, "16", "What do papers claim on one network?"),
    "papers-by-year": Entry(surveyed.papers_by_year, "16", "What has been pruned over the years?"),
}
