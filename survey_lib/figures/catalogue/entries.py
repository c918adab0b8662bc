"""The catalogue of figures: what each asks and how it is drawn; titles, captions, alt texts are computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import matplotlib.pyplot as plt
import pandas as pd

from survey_lib.analysis.findings import finding, leaders, main_setting, setting
from survey_lib.analysis.statistics import FEWEST_BLOCKS, rank_stability, ranking, ranks_along
from survey_lib.charts import plots
from survey_lib.charts import ranking as rankings
from survey_lib.charts.export import Drawing
from survey_lib.figures import schematics
from survey_lib.figures.comparisons import (
    anatomy,
    comparison,
    controls,
    language_models,
    open_problems,
    pitfalls,
    speed_figures,
    surveyed,
    your_model,
)
from survey_lib.figures.structured import (
    channel_pruning,
    depth_and_heads,
    filter_pruning,
    structure_and_surgery,
)
from survey_lib.figures.unstructured import (
    during_training,
    lottery_tickets,
    redundancy,
    saliency_gains,
    scopes,
)


@dataclass(frozen=True)
class Entry:
    """A figure of the catalogue: how it is drawn, in which notebook, what it asks, and from which study."""

    draw: Callable[..., Drawing]
    notebook: str
    question: str
    study: str = ""


def _curves(frame: pd.DataFrame, x: str) -> Drawing:
    labels = setting(frame)
    panels = {
        label: (frame[labels == label], leaders(frame[labels == label])) for label in sorted(set(labels))
    }
    figure, table = plots.small_multiples(panels, x=x)
    label, main = main_setting(frame)
    plots.headline(figure, f"{finding(main)} ({label})")
    caption = (
        f"Test accuracy against {plots.LABELS[x]} for {frame['method'].nunique()} methods on {len(panels)} "
        "pairs of data and model; mean and standard deviation over seeds, dense level dashed, random grey. "
        f"{finding(main)} on {label}."
    )
    return Drawing(
        figure, caption, f"Line charts, one panel a pair of data and model. {finding(main)}.", table
    )


def frontier(frame: pd.DataFrame) -> Drawing:
    return _curves(frame, "compression")


def speedup(frame: pd.DataFrame) -> Drawing:
    return _curves(frame, "speedup_theoretical")


def categories(frame: pd.DataFrame) -> Drawing:
    label, main = main_setting(frame)
    names = main.loc[main["method"] != "dense"].groupby("category")["method"].unique()
    figure, table = plots.small_multiples(
        {title: (main, sorted(methods)) for title, methods in names.items()}
    )
    best = {title: finding(main[main["category"] == title]) for title in names.index}
    plots.headline(figure, f"{finding(main)} ({label})")
    caption = (
        f"Accuracy against compression on {label}, one panel a category, the others pale. {finding(main)}."
    )
    return Drawing(figure, caption, " ".join(f"{title}: {text}." for title, text in best.items()), table)


def _comparable(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Runs of each structure that has three methods at two sparsities or more, so that they can be ranked."""
    found = {}
    for structure, rows in frame[frame["method"] != "dense"].groupby("structure"):
        common = rows.groupby("method")["sparsity"].nunique()
        several = rows[rows["method"].isin(common[common > 1].index)]
        if several["method"].nunique() >= 3:
            found[structure] = several
    if not found:
        raise ValueError("no structure has three methods at two sparsities; run the study's full profile")
    return found


def critical(frame: pd.DataFrame) -> Drawing:
    found = {structure: ranking(rows) for structure, rows in _comparable(frame).items()}
    height = max(len(one.ranks) for one in found.values())
    figure, grid = plt.subplots(1, len(found), figsize=(5 * len(found), 0.27 * height + 2), squeeze=False)
    says = {}
    for (structure, one), axes in zip(found.items(), grid.flat, strict=True):
        enough = one.blocks >= FEWEST_BLOCKS
        if enough:
            rankings.critical_difference(one.ranks, one.critical_difference, axes)
        else:
            rankings.mean_ranks(one.ranks, axes)
        axes.set_title(structure)
        tied = [name for name in one.ranks.index[1:] if not one.apart(one.ranks.index[0], name)]
        says[structure] = f"{structure}: " + (
            f"{one.ranks.index[0]} first, {len(tied)} of {len(one.ranks) - 1} tie with it"
            if enough
            else f"{one.blocks} blocks, too few to separate methods"
        )
    plots.headline(figure, "; ".join(says.values()))
    facts = "; ".join(
        f"{says[name]} (N = {one.blocks}, Friedman p {one.p_value:.2g})" for name, one in found.items()
    )
    caption = (
        "Mean ranks at equal compression; a block is a seed of one data set and model. With ten blocks or more, bars "
        f"join what Nemenyi's test at 0.05 cannot separate. {facts}."
    )
    table = pd.concat({name: one.ranks for name, one in found.items()}, names=["structure", "method"])
    return Drawing(figure, caption, caption, table.rename("mean_rank").reset_index())


def stability(frame: pd.DataFrame) -> Drawing:
    found = {name: ranks_along(rows) for name, rows in _comparable(frame).items()}
    height = max(map(len, found.values()))
    figure, grid = plt.subplots(1, len(found), figsize=(4.6 * len(found), 0.25 * height + 1.8), squeeze=False)
    for (structure, ranks), axes in zip(found.items(), grid.flat, strict=True):
        rankings.bump(ranks, axes)
        axes.set_title(structure)
    taus = {name: rank_stability(ranks) for name, ranks in found.items()}
    text = "Kendall τ between the orders at two compressions: " + ", ".join(
        f"{name} {tau:.2f}" for name, tau in taus.items()
    )
    plots.headline(figure, text)
    caption = f"Mean rank of each method at equal compression. {text} (1 = one order everywhere)."
    table = pd.concat(
        {name: ranks.reset_index().melt("method", value_name="mean_rank") for name, ranks in found.items()}
    )
    return Drawing(figure, caption, caption, table.rename_axis(["structure", None]).reset_index("structure"))


def cost(frame: pd.DataFrame) -> Drawing:
    """Accuracy lost at each sparsity beside the seeds' own spread of the dense network."""
    label, main = main_setting(frame)
    pruned = main[main["method"] != "dense"].assign(
        drop=lambda rows: rows["dense_accuracy"] - rows["accuracy"]
    )
    table = pruned.pivot_table("drop", "method", "sparsity")
    table = table.loc[table.mean(axis=1).sort_values().index]
    noise, seeds = main.drop_duplicates("seed")["dense_accuracy"].std(), main["seed"].nunique()
    figure, axes = plt.subplots(figsize=(5.2, 0.24 * len(table) + 1.4))
    image = axes.imshow(table * 100, aspect="auto", cmap="cividis_r")
    axes.set_xticks(range(table.shape[1]), [f"{value:g}" for value in table.columns])
    axes.set_yticks(range(len(table)), table.index)
    axes.set_xlabel(plots.LABELS["sparsity"])
    axes.grid(False)
    figure.colorbar(image, label="accuracy lost, points")
    within = int((table < noise).to_numpy().sum())
    level = f"{noise * 100:.2f} points, n = {seeds}"
    text = f"{within} of {table.count().sum()} cells lose less than the dense spread ({level})"
    if seeds < plots.MINIMUM_SEEDS:
        text = f"Accuracy lost at each sparsity; n = {seeds}: too few seeds to tell loss from noise"
    plots.headline(figure, text)
    caption = f"Accuracy lost against the dense network of the same seed on {label}. {text}."
    return Drawing(figure, caption, caption, table.reset_index().melt("method", value_name="accuracy_lost"))


FIGURES: dict[str, Entry] = {
    "frontier": Entry(frontier, "15", "How much accuracy is left at each compression?", "comparison"),
    "frontier-speedup": Entry(speedup, "15", "And at each theoretical speed-up?", "comparison"),
    "tradeoff": Entry(
        comparison.panels, "15", "How does accuracy fall with compression and with MACs?", "comparison"
    ),
    "pareto": Entry(comparison.pareto, "15", "Which points does no other point beat?", "comparison"),
    "differences": Entry(
        comparison.differences, "15", "Who beats magnitude, who beats random, at equal size?", "comparison"
    ),
    "ledger": Entry(comparison.ledger, "15", "What does each method cost before it is done?", "comparison"),
    "equal-sparsity": Entry(
        comparison.equal_sparsity, "15", "Can methods be compared at equal sparsity?", "comparison"
    ),
    "categories": Entry(categories, "15", "Which method leads within each category?", "comparison"),
    "ranking": Entry(critical, "15", "Which methods can be told apart?", "comparison"),
    "rank-stability": Entry(
        stability, "15", "Does the order of methods survive a change of sparsity?", "comparison"
    ),
    "accuracy-lost": Entry(cost, "15", "Where is the loss above the noise of the seeds?", "comparison"),
    "decision-guide": Entry(your_model.decision_guide, "20", "Which method for which need?", "comparison"),
    "stale-statistics": Entry(
        redundancy.stale_statistics, "01", "Why does a pruned network fail more than it should?"
    ),
    "scope-and-schedule": Entry(
        scopes.scope_and_schedule, "02", "What are scope and schedule worth?", "weight"
    ),
    "saliency-before-and-after": Entry(
        saliency_gains.before_and_after,
        "03",
        "How far apart are criteria before and after recovery?",
        "saliency",
    ),
    "saliency-gains": Entry(
        saliency_gains.gains, "03", "Who beats magnitude, and what does recovery leave of it?", "saliency"
    ),
    "sanity-checks": Entry(
        lottery_tickets.early, "04", "Does the pattern found before training matter?", "before-training"
    ),
    "winning-tickets": Entry(
        lottery_tickets.winning, "05", "Are winning tickets better than random ones?", "lottery"
    ),
    "sparse-training": Entry(
        during_training.moving,
        "06",
        "Does a sparse network learn better if its mask may move?",
        "during-training",
    ),
    "three-ideas": Entry(
        filter_pruning.three_ideas, "07", "Which filters would three ideas of importance remove?"
    ),
    "choice-and-repair": Entry(
        channel_pruning.choice_and_repair, "08", "What is the choice of channels worth, and what the repair?"
    ),
    "granularity": Entry(frontier, "10", "What does it cost to remove weights in groups?", "between"),
    "recipe-or-criterion": Entry(
        controls.recipe_or_criterion, "16", "Does the learning rate or the criterion matter more?", "controls"
    ),
    "depth-against-width": Entry(
        depth_and_heads.depth_against_width,
        "11",
        "Is it better to make a network shallower or narrower?",
        "depth",
    ),
    "taxonomy": Entry(schematics.taxonomy, "00", "Which kinds of pruning are there?"),
    "story": Entry(anatomy.story, "00", "What becomes of a network, its size and its time?"),
    "chain": Entry(anatomy.chain, "00", "What does every method do, step by step?"),
    "patterns": Entry(schematics.patterns, "10", "What does one matrix look like at each granularity?"),
    "coupled-channels": Entry(schematics.coupled_channels, "09", "Which channels must go together?"),
    "travelling-labels": Entry(
        structure_and_surgery.travelling_labels, "09", "Where is a channel after a padded shortcut?"
    ),
    "language-loss": Entry(
        language_models.losses, "13", "What does a language model lose when pruned in one shot?", "language"
    ),
    "language-structures": Entry(
        language_models.structures,
        "14",
        "What do heads, channels and blocks cost at equal parameters?",
        "language",
    ),
    "staircase": Entry(speed_figures.staircase, "12", "How much of a cut arrives as time, step by step?"),
    "roofline": Entry(speed_figures.roofline, "12", "Why is a cut network not as fast as its MACs say?"),
    "faults": Entry(pitfalls.faults, "19", "Where in the chain do faults sit that raise no error?"),
    "open-problems": Entry(
        open_problems.open_problems, "21", "What speaks for and against what is said about pruning?"
    ),
    "published-baselines": Entry(
        surveyed.published_baselines, "18", "How far do published dense accuracies differ?"
    ),
    "published-changes": Entry(surveyed.published_changes, "18", "What do papers claim on one network?"),
    "papers-by-year": Entry(surveyed.papers_by_year, "18", "What has been pruned over the years?"),
}
