"""The drawings of filters and channels in notebooks 07 and 09."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from survey_lib.chain.coupling import ChannelGroup, Slice
from survey_lib.figures.structured import filter_pruning, structure_and_surgery


def test_a_forest_names_each_method_once_though_references_differ():
    row = {"mean": 0.01, "low": 0.0, "high": 0.02, "n": 3}
    tables = {
        "x": pd.DataFrame([{"method": "y"} | row, {"method": "a"} | row]),
        "y": pd.DataFrame([{"method": "a"} | row]),
    }
    figure, axes = plt.subplots()
    filter_pruning.forest(tables, axes)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["y", "a"]
    plt.close(figure)


def test_positions_name_axis_width_and_place_and_leave_vectors_out():
    group = ChannelGroup("a", 2, (Slice("a.weight", 0, np.array([[0], [1]])), Slice("a.bias", 0, np.array([[0], [1]])),
                                  Slice("b.weight", 1, np.array([[4, 5], [6, 7]]))))  # fmt: skip
    table = structure_and_surgery.positions(group, 1, {"a.weight": (2, 3), "a.bias": (2,), "b.weight": (1, 8)})
    assert table.to_dict("list") == {"tensor": ["a.weight", "b.weight"], "axis": [0, 1], "width": [2, 8],
                                     "positions": [[1], [6, 7]]}  # fmt: skip
    figure, axes = plt.subplots()
    structure_and_surgery.strips(table, axes)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a writes", "b reads"]
    plt.close(figure)


def test_the_weakest_picture_stands_left():
    weight = np.stack([np.full((3, 2, 2), size) for size in (3.0, 1.0, 2.0)])
    figure = filter_pruning.sorted_pictures(weight, {"size": np.array([3.0, 1.0, 2.0])}, removed=1)
    assert [axes.get_xlabel() for axes in figure.axes] == ["1", "2", "0"]
    plt.close(figure)


def test_distances_are_ordered_with_the_most_replaceable_first():
    figure, axes = plt.subplots()
    filter_pruning.distance_matrix(np.array([[0.0], [1.0], [3.0]]), [1], axes)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "0", "2"]
    assert axes.images[0].get_array().tolist() == [[0, 1, 2], [1, 0, 3], [2, 3, 0]]
    plt.close(figure)
