"""Drawings of channel pruning say what stands in the table they were given."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from survey_lib.figures.structured import channel_pruning

BEFORE = {"random-filter": 0.3, "l1-filter": 0.4, "lasso": 0.9, "slimming": 0.5}


@pytest.fixture
def frame():
    """Two seeds: before recovery LASSO is 60 and 62 points above random, after it all are equal; slimming is smaller."""
    rows = [
        {"method": method, "recovery": recovery, "seed": seed, "sparsity": sparsity, "structure": "structured",
         "pruned_accuracy": before + 0.02 * seed * (method == "lasso"), "accuracy": 0.95,
         "compression": (3.0 if method == "slimming" else 2.0) / (1 - sparsity)}
        for method, before in BEFORE.items() for recovery in ("none", "finetune")
        for seed in (0, 1) for sparsity in (0.3, 0.6)
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(data="digits", model="m", dense_accuracy=0.97)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_gains_compare_only_networks_of_one_shape(frame):
    table = channel_pruning.gains(channel_pruning.recovered(frame))
    assert set(table["method"]) == {"l1-filter", "lasso"} and (table["n"] == 2).all()
    mean = table.groupby(["stage", "method"])["mean"].mean()
    assert mean["right after the cut", "lasso"] == pytest.approx(61)
    assert mean["after recovery", "lasso"] == pytest.approx(0)


def test_recovery_in_a_name_is_taken_off(frame):
    named = frame.assign(method=frame["method"] + " (" + frame["recovery"] + ")")
    assert channel_pruning.recovered(named)["method"].tolist() == channel_pruning.recovered(frame)["method"].tolist()


def test_titles_hold_the_spans_and_the_best_gain(frame):
    assert (
        "61.0 points apart right after the cut, 0.0 points apart after recovery"
        in channel_pruning.before_and_after(frame).caption
    )
    assert "up to +61.0 points over random (lasso), 4 of 4 intervals" in channel_pruning.worth(frame).caption


def test_widths_are_shares_of_channels_and_print_as_per_cent():
    config = {"data": "d", "method": "m", "recovery": "none", "sparsity": 0.5, "seed": 0}
    layers = [
        {"layer": "a", "unit": "channel", "kept": 1, "total": 4},
        {"layer": "a", "unit": "weight", "kept": 1, "total": 9},
    ]
    found = channel_pruning.kept_widths(
        [{"status": "done", "config": config, "layers": layers}, {"status": "failed"}]
    )
    assert found["kept"].tolist() == [0.25]
    axes = plt.figure().subplots()
    channel_pruning.widths(found.pivot_table("kept", "method", "layer"), axes)
    assert [text.get_text() for text in axes.texts] == ["25%"]


def test_histograms_share_their_bins_and_errors_have_a_panel_a_repair():
    figure = channel_pruning.scales({"a": np.array([0.1, 0.2]), "b": np.array([2.0])})
    assert [sum(bar.get_height() for bar in axes.patches) for axes in figure.axes] == [2, 1]
    table = pd.DataFrame({"repair": ["none", "refit"], "choice": "l1", "kept": [2, 2], "error": [0.5, 0.1]})
    assert [axes.lines[0].get_ydata()[0] for axes in channel_pruning.errors(table).axes] == [0.5, 0.1]
