"""The catalogue of figures: how each is drawn; titles and captions are computed."""

from collections.abc import Callable
from dataclasses import dataclass

from survey_lib.charts.export import Drawing
from survey_lib.figures import schematics
from survey_lib.figures.comparisons import (
    anatomy,
    comparison,
    controls,
    from_mask_to_speed,
    language_models,
    open_problems,
    pitfalls,
    reported,
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
    """A figure of the catalogue: how it is drawn, in which notebook it is explained, and whose runs it shows."""

    draw: Callable[..., Drawing]
    notebook: str
    study: str = ""


FIGURES: dict[str, Entry] = {
    "tradeoff": Entry(comparison.tradeoff, "15", "comparison"),
    "decision-guide": Entry(your_model.decision_guide, "20", "comparison"),
    "stale-statistics": Entry(redundancy.stale_statistics, "01"),
    "scope-and-schedule": Entry(scopes.scope_and_schedule, "02", "weight"),
    "saliency-before-and-after": Entry(saliency_gains.before_and_after, "03", "saliency"),
    "saliency-gains": Entry(saliency_gains.gains, "03", "saliency"),
    "sanity-checks": Entry(lottery_tickets.early, "04", "before-training"),
    "winning-tickets": Entry(lottery_tickets.winning, "05", "lottery"),
    "sparse-training": Entry(during_training.moving, "06", "during-training"),
    "filter-criteria": Entry(filter_pruning.criteria, "07", "comparison-eurosat32"),
    "choice-and-repair": Entry(channel_pruning.choice_and_repair, "08"),
    "equal-budgets": Entry(controls.equal_budgets, "16", "comparison-eurosat32"),
    "depth-against-width": Entry(depth_and_heads.depth_against_width, "11", "depth"),
    "taxonomy": Entry(schematics.taxonomy, "00"),
    "story": Entry(anatomy.story, "00"),
    "chain": Entry(anatomy.chain, "00"),
    "patterns": Entry(schematics.patterns, "10"),
    "coupled-channels": Entry(schematics.coupled_channels, "09"),
    "travelling-labels": Entry(structure_and_surgery.travelling_labels, "09"),
    "language-loss": Entry(language_models.losses, "13", "language"),
    "language-structures": Entry(language_models.structures, "14", "language"),
    "staircase": Entry(from_mask_to_speed.staircase, "12"),
    "faults": Entry(pitfalls.faults, "19"),
    "open-problems": Entry(open_problems.open_problems, "21"),
    "replication": Entry(reported.published_against_ours, "17", "replication"),
    "published-baselines": Entry(surveyed.published_baselines, "18"),
    "published-changes": Entry(surveyed.published_changes, "18"),
}
