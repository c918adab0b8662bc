"""The figure of the faults notebook: where in the chain a fault sits."""

import textwrap

import matplotlib.pyplot as plt
import pandas as pd

from survey_lib.charts.export import Drawing
from survey_lib.charts.looks import PALETTE
from survey_lib.charts.schematic import arrow, box

FAULTS = {
    "score": ["L1 without abs"],
    "select": ["ties at a threshold", "masks multiplied"],
    "mask": ["batch-norm shift"],
    "train": ["weights revived", "aliased rewind"],
    "cut": ["wrong input slices", "padded shortcut"],
    "measure": ["MACs read 0", "ragged last batch", "masked is not faster", "stale batch norm"],
    "compare": ["a ratio of what?", "weak random", "part of a test set", "wall-clock cost"],
}


def faults() -> Drawing:
    """The steps of the chain from top to bottom, with the faults of the lesson that sit in each beside it."""
    figure, axes = plt.subplots(figsize=(5.6, 4.2))
    for row, (step, found) in enumerate(FAULTS.items()):
        box(axes, 0, -row, step, PALETTE[0], fontsize=10, weight="bold")
        axes.text(0.8, -row, textwrap.fill(", ".join(found), 42), va="center", fontsize=9.5)
        if row:
            arrow(axes, (0, 0.7 - row), (0, 0.3 - row))
    axes.set(xlim=(-0.6, 5), ylim=(0.4 - len(FAULTS), 0.5))
    axes.axis("off")
    rows = [(step, fault) for step, found in FAULTS.items() for fault in found]
    says = f"{len(rows)} faults, at least one in every step, and none of them raises an error"
    return Drawing(figure, says, pd.DataFrame(rows, columns=["step", "fault"]))
