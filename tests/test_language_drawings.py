"""Drawings of the language study: what is plotted and what the titles say."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from survey_lib.figures.comparisons import language_models


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
    drawing = language_models.losses(frame)
    half = drawing.data[np.isclose(drawing.data["x"], 0.5)].set_index(["method", "metric"])["mean"]
    assert half["magnitude", "written_loss"] == 3.0 and half["magnitude", "divergence"] == 2.0
    assert "magnitude is 1.0 times as far from the dense model as the best method" in drawing.alt
    assert "magnitude 2.00" in drawing.alt and "random" not in drawing.alt.split("0.5:")[1]
    plt.close(drawing.figure)


def test_structures_draws_what_is_cut_out_solid_and_single_weights_dotted(frame):
    drawing = language_models.structures(frame)
    (axes,) = drawing.figure.axes
    lines = {bars.get_label(): bars.lines[0].get_linestyle() for bars in axes.containers}
    assert lines == {"block-influence": "-", "magnitude": ":", "random": ":"}
    assert "At every size, cutting out parts adds more loss" in drawing.alt
    means = drawing.data.set_index(["method", "sparsity"])["mean"]
    assert means["block-influence", 0.2] == 2.5 and means["magnitude", 0.5] == 3.0
    plt.close(drawing.figure)


def test_outliers_are_ratios_to_the_median_of_the_layer():
    _, axes = plt.subplots()
    table = language_models.outliers({"a": np.array([1.0, 2.0, 8.0])}, 3.0, axes)
    assert table["ratio"].tolist() == [0.5, 1.0, 4.0]
    marked = [line for line in axes.lines if line.get_marker() == "D"]
    assert marked[0].get_xdata().tolist() == [4.0]
    plt.close("all")


def test_texts_colours_surprise_and_wraps():
    figure = language_models.texts(
        {"dense": [("abc", 0.0), ("d\n", 8.0)], "other": [("x" * 40, 1.0), ("y" * 40, 1.0)]}
    )
    written = [text.get_text() for text in figure.axes[0].texts]
    assert written[:3] == ["dense", "abc", "d¶"]
    calm, startled = (patch.get_facecolor() for patch in figure.axes[0].patches[:2])
    assert calm[2] > startled[2]  # orange: the darker, the less blue
    x, y = zip(*(text.get_position() for text in figure.axes[0].texts[-2:]), strict=True)
    assert x == (0, 0) and y[1] == y[0] + 1
    plt.close("all")


def test_reported_puts_every_point_on_its_row():
    _, axes = plt.subplots()
    points = pd.DataFrame(
        [("A", "2:4", "wanda", 0.5), ("A", "2:4", "magnitude", 0.9), ("B", "2:4", "wanda", 0.2)],
        columns=["model", "pattern", "method", "nats"],
    )
    language_models.reported(points, axes)
    drawn = {
        line.get_label(): sorted(zip(line.get_ydata(), line.get_xdata(), strict=True)) for line in axes.lines
    }
    assert drawn == {"magnitude": [(0, 0.9)], "wanda": [(0, 0.5), (1, 0.2)]}
    plt.close("all")
