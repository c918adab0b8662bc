"""The figures of notebooks 04 to 06: what is plotted, not how it looks."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from survey_lib.charts.plots import GREY
from survey_lib.figures import weights


@pytest.fixture
def axes():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def runs(**values) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "sparsity": 0.9,
            "inputs": "normalised",
            "dense_accuracy": 0.95,
            "seed": [0, 1, 2],
            "accuracy": [0.8, 0.9, 1.0],
        }
        | values
    )


def test_a_line_over_sparsity_is_the_mean_error_at_the_kept_share(axes):
    table = weights.over_sparsity(
        {"original": runs(), "random, one shot": runs(accuracy=[0.1, 0.2, 0.3])}, axes
    )
    assert table["mean"].tolist() == pytest.approx([0.1, 0.8]) and table["n"].tolist() == [3, 3]
    assert axes.lines[0].get_xdata() == pytest.approx([0.1])
    assert axes.lines[1].get_color() == GREY


def test_a_mask_trained_from_the_start_is_no_damage_to_a_trained_network():
    frame = pd.concat(
        [
            runs(method=method, data="digits", recovery=recovery, scope="erk")
            for method, recovery in (
                ("random", "scratch-e"),
                ("random", "finetune"),
                ("rigl", "none"),
            )
        ]
    )
    lines = weights.lines_of(frame)
    assert [len(lines[name]) for name in ("random, fixed", "rigl", "set")] == [3, 3, 0]
