"""The drawings of notebooks 04 and 05: what is plotted, not how it looks."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from survey_lib.figures.unstructured import before_training, lottery_tickets


@pytest.fixture
def axes():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


def runs(**values) -> pd.DataFrame:
    return pd.DataFrame({"sparsity": 0.9, "dense_accuracy": 0.95, "seed": [0, 1, 2], "accuracy": [0.8, 0.9, 1.0]} | values)


def test_a_line_over_sparsity_is_the_mean_over_seeds_at_the_kept_share(axes):
    table = lottery_tickets.over_sparsity({"original": runs(), "random, one shot": runs(accuracy=[0.1, 0.2, 0.3])}, axes)
    assert table["mean"].tolist() == pytest.approx([0.9, 0.2]) and table["n"].tolist() == [3, 3]
    assert axes.lines[0].get_xdata() == pytest.approx([0.1])
    assert axes.lines[1].get_color() == lottery_tickets.GREY


def test_rewind_points_carry_students_interval(axes):
    frame = pd.concat([runs(rewind_epoch=0), runs(rewind_epoch=5)])
    assert lottery_tickets.rewind_points(frame, axes)["rewind_epoch"].tolist() == [0, 5]
    low, high = axes.containers[0].lines[2][0].get_segments()[0][:, 1]
    assert (high - low) / 2 == pytest.approx(4.3027 * 0.1 / 3**0.5, rel=1e-4)


def test_an_emptied_layer_gets_a_ring():
    table = pd.DataFrame({"method": "snip", "layer": ["a", "a", "b", "b"], "sparsity": [0.5, 0.9] * 2,
                          "density": [0.5, 0.2, 0.5, 0.0]})  # fmt: skip
    figure = before_training.layer_densities(table)
    rings = [line for line in figure.axes[0].lines if line.get_markersize() == 8]
    assert [list(line.get_xdata()) for line in rings] == [[], pytest.approx([0.1])]
    plt.close(figure)


def test_conserved_sums_lie_on_one(axes):
    before_training.layer_sums(pd.DataFrame({"flat": [3.0, 3.0], "steep": [1.0, 3.0]}, ["first", "second"]), axes)
    assert [list(line.get_ydata()) for line in axes.lines[:2]] == [[1, 1], [0.5, 1.5]]
