"""Drawings of the language study: what is plotted and what the titles say."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from survey_lib.figures import structures


@pytest.fixture
def frame():
    rows = [("dense", "none", 0.0, 1.0, 1.0)]
    rows += [("magnitude", "unstructured", s, 1 + 4 * s, 1 / (1 - s)) for s in (0.2, 0.5)]
    rows += [("random", "unstructured", s, 1 + 20 * s, 1 / (1 - s)) for s in (0.2, 0.5)]
    rows += [
        ("nm-magnitude", "semi-structured", 0.5, 4.0, 2.0),
        ("block-influence", "structured", 0.2, 2.5, 1.25),
    ]
    table = pd.DataFrame(rows, columns=["method", "structure", "sparsity", "loss", "compression"])
    return pd.concat(
        [
            table.assign(seed=seed, divergence=table["loss"] - 1, written_loss=table["loss"], pattern="")
            for seed in range(3)
        ],
        ignore_index=True,
    )


def test_losses_draws_both_measures_and_names_the_order(frame):
    drawing = structures.losses(frame)
    half = drawing.data[np.isclose(drawing.data["x"], 0.5)].set_index(["method", "metric"])["mean"]
    assert half["magnitude", "written_loss"] == 3.0 and half["magnitude", "divergence"] == 2.0
    assert "magnitude is 1.0 times as far from the dense model as the best method" in drawing.says
    plt.close(drawing.figure)


def test_structures_draws_what_is_cut_out_solid_and_single_weights_dotted(frame):
    drawing = structures.structures(frame)
    (axes,) = drawing.figure.axes
    lines = {line.get_label(): line.get_linestyle() for line in axes.lines if line.get_linestyle() != "None"}
    assert lines == {"block-influence": "-", "magnitude": ":", "random": ":", "dense": "--"}
    assert "At every size, cutting out parts adds more loss" in drawing.says
    means = drawing.data.set_index(["method", "sparsity"])["mean"]
    assert means["block-influence", 0.2] == 2.5 and means["magnitude", 0.5] == 3.0
    plt.close(drawing.figure)
