"""What the runs of a table are: their data and network, baselines, and controls."""

from __future__ import annotations

import pandas as pd

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
