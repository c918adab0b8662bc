"""What a table of results says, in words that titles and captions are made of."""

from __future__ import annotations

import pandas as pd

from survey_lib.analysis.statistics import at_compression

BASELINES = ("random", "magnitude", "random-filter", "l1-filter")


def setting(frame: pd.DataFrame) -> pd.Series:
    """The (data, model) pair of each run, as one label."""
    return frame["data"] + ", " + frame["model"]


def main_setting(frame: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """The (data, model) pair with the most runs, and its runs."""
    labels = setting(frame)
    label = labels.value_counts().sort_index().idxmax()
    return label, frame[labels == label]


def is_control(frame: pd.DataFrame) -> pd.Series:
    """Whether a run is the control "train longer": the dense network with the recovery's training on top."""
    return (frame["method"] == "dense") & (frame["recovery"] == "finetune")


def leaders(frame: pd.DataFrame) -> list[str]:
    """The baselines, and the best method of each category at its strongest common compression."""
    pruned = frame[frame["method"] != "dense"]
    baselines = [name for name in set(pruned["method"]) if name.partition(" ")[0] in BASELINES]
    best = [at_compression(rows).index[0] for _, rows in pruned.groupby("category")]
    return sorted({*best, *baselines})


def finding(frame: pd.DataFrame) -> str:
    """The span of mean accuracies at the strongest compression that all methods of the table reach, in one line.

    It describes; which of two methods is better is what `claims` tests.
    """
    at = at_compression(frame)
    first, last = f"{at.max():.1%} ({at.index[0]})", f"{at.min():.1%} ({at.index[-1]})"
    return f"At {at.name:.1f}× compression the mean accuracies of {len(at)} methods span {last} to {first}"
