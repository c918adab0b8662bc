"""The catalogue of figures: what each asks and how it is drawn; titles, captions, alt texts are computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from survey_lib.charts.export import Drawing
from survey_lib.figures import schematics
from survey_lib.figures.comparisons import (
    anatomy,
    comparison,
    controls,
    language_models,
    open_problems,
    pitfalls,
    reported,
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


FIGURES: dict[str, Entry] = {
    "tradeoff": Entry(
        comparison.tradeoff,
        "15",
        "What does accuracy cost in size and in MACs, and how sure is that?",
        "comparison",
    ),
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
    "equal-budgets": Entry(
        controls.equal_budgets, "16", "Is it pruning, or the training that came with it?", "controls"
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
    "faults": Entry(pitfalls.faults, "19", "Where in the chain do faults sit that raise no error?"),
    "open-problems": Entry(
        open_problems.open_problems, "21", "What speaks for and against what is said about pruning?"
    ),
    "replication": Entry(
        reported.published_against_ours,
        "17",
        "Do published numbers on small networks come out again?",
        "replication",
    ),
    "published-baselines": Entry(
        surveyed.published_baselines, "18", "How far do published dense accuracies differ?"
    ),
    "published-changes": Entry(surveyed.published_changes, "18", "What do papers claim on one network?"),
    "papers-by-year": Entry(surveyed.papers_by_year, "18", "What has been pruned over the years?"),
}
