"""The drawings of notebook 01: sorted magnitudes, sensitivity of layers, whole networks without recovery."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from survey_lib.figures.unstructured import redundancy

FIXED = {"data": "d", "model": "m", "scope": "layerwise", "structure": "unstructured", "dense_accuracy": 0.9}


@pytest.fixture
def frame():
    """Layer fc loses nothing to magnitude, conv1 25 points at 0.5; the whole network 10 points at 0.5, all at random."""
    layers = [("magnitude", "fc", 0.5, 0.9), ("magnitude", "conv1", 0.5, 0.65), ("random", "conv1", 0.5, 0.4)]
    whole = [("magnitude", None, 0.5, 0.8), ("magnitude", None, 0.9, 0.2), ("random", None, 0.5, 0.1)]
    rows = [(*row, seed) for row in layers + whole for seed in range(3)]
    return pd.DataFrame(rows, columns=["method", "layer", "sparsity", "accuracy", "seed"]).assign(**FIXED)


def test_tolerance_lies_between_the_runs_on_both_sides():
    runs = pd.DataFrame({"sparsity": [0.2, 0.4], "accuracy": [0.9, 0.86], "dense_accuracy": 0.9})
    assert redundancy.tolerance(runs) == pytest.approx(0.25)
    assert redundancy.tolerance(runs.assign(accuracy=0.9)) == 0.4
    assert redundancy.tolerance(runs.assign(accuracy=0.8)) == pytest.approx(0.02)


def test_tolerances_put_the_classifier_last(frame):
    found = redundancy.tolerances(frame)
    assert list(found.index) == ["conv1", "fc"]
    assert found.tolist() == pytest.approx([0.02, 0.5])


def test_the_heat_map_holds_points_lost_to_magnitude(frame):
    drawing = redundancy.sensitivity(frame)
    heat = [axes for axes in drawing.figure.axes if axes.images][0]
    assert np.allclose(heat.images[0].get_array(), [[25.0], [0.0]])
    assert "conv1 loses 1 point at sparsity 0.02, fc at 0.50" in drawing.caption
    plt.close(drawing.figure)


def test_whole_networks_are_drawn_without_the_runs_of_one_layer(frame):
    drawing = redundancy.whole_network(pd.concat([frame, frame]))
    assert sorted(drawing.data["mean"].round(3)) == [0.1, 0.2, 0.8]
    assert (drawing.data["n"] == 3).all() and "magnitude at sparsity 0.05 (m); at random before 0.01" in drawing.caption
    plt.close(drawing.figure)


def test_magnitudes_fall_and_their_share_rises_to_one():
    figure = redundancy.magnitudes({"a": np.array([[1.0, -4.0], [3.0, 2.0]])})
    left, right = figure.axes
    assert left.lines[0].get_ydata().tolist() == [1.0, 0.75, 0.5, 0.25]
    assert right.lines[0].get_ydata().tolist() == [0.4, 0.7, 0.9, 1.0]
    plt.close(figure)
