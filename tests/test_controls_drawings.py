"""Differences, ranges and classes by hand."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from survey_lib.figures.comparisons import controls


def test_against_one_sorts_and_leaves_the_reference_out():
    runs = pd.DataFrame({"seed": [0, 1, 2], "accuracy": [0.5, 0.6, 0.7]})
    table = controls.against_one(
        {"a": runs, "b": runs.assign(accuracy=runs.accuracy + 0.1), "c": runs - 0}, "a"
    )
    assert list(table.index) == ["b", "c"] and table.loc["b", "mean"] == pytest.approx(0.1)


def test_one_seed_has_no_interval():
    runs = pd.DataFrame({"seed": [0], "accuracy": [0.5]})
    assert np.isnan(controls.paired(runs, runs)["low"])


def test_ranges_by_hand():
    runs = pd.DataFrame(
        [(0.5, 0.01, "a", 0.9), (0.5, 0.01, "b", 0.8), (0.5, 0.1, "a", 0.7), (0.5, 0.1, "b", 0.7)],
        columns=["sparsity", "recovery_lr", "method", "accuracy"],
    )
    found = controls.ranges(runs).loc[0.5]
    assert found["between criteria"] == pytest.approx(5)  # 10 points at one rate, 0 at the other
    assert found["between learning rates"] == pytest.approx(15)  # 20 for a, 10 for b


def test_pictures_show_every_row_once():
    figure, (left, right) = plt.subplots(1, 2)
    table = pd.DataFrame(
        {"mean": [0.1, 0.0], "low": [0.05, -0.1], "high": [0.2, 0.1], "n": [3, 3], "corrected": [0.01, 0.3]},
        ["up", "flat"],
    )
    controls.against_reference(table, "x", left)
    ties = [line for line in left.lines if line.get_markerfacecolor() == "white"]
    assert [line.get_ydata().tolist() for line in ties] == [[0]]  # flat, the lower row, is a tie
    assert [label.get_text() for label in left.get_yticklabels()] == ["flat", "up"]  # from below
    controls.class_changes(pd.DataFrame({"magnitude": [-3.0, 1.0]}, ["forest", "river"]), right)
    assert [patch.get_width() for patch in right.patches] == [-3.0, 1.0]
    plt.close(figure)


def test_classes_of_a_record():
    record = {
        "config": {"data": "d", "method": "m", "sparsity": 0.5, "recovery": "none", "seed": 0},
        "metrics": {"recovered": {"test": {"per_class_accuracy": [0.9, 0.8]}}},
    }
    assert controls.per_class([record], ("a", "b"))[["a", "b"]].to_numpy().tolist() == [[0.9, 0.8]]
