"""Depth against width: the gap at equal MACs, and what is drawn of scores and of measured times."""

from itertools import product

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from survey_lib.figures.structured import depth_and_heads


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def runs() -> pd.DataFrame:
    """Blocks lie 2 points above filters at every speed-up after recovery, 10 before."""
    rows = []
    for method, speed, seed in product(("block-influence", "l1-filter"), (2.0, 4.0), range(3)):
        better = method == "block-influence"
        rows.append({"data": "toy", "model": "toy", "method": method, "structure": "structured", "recovery": "finetune",
                     "sparsity": 1 - 1 / speed, "seed": seed, "speedup_theoretical": speed, "dense_accuracy": 0.9,
                     "accuracy": 0.8 + 0.02 * better + 0.01 * seed,
                     "pruned_accuracy": 0.3 + 0.1 * better + 0.01 * seed})  # fmt: skip
    return pd.DataFrame(rows)


def test_the_gap_is_paired_by_seed():
    assert depth_and_heads.gap(runs()) == pytest.approx((2, 2, 2, 3))


def test_the_title_holds_both_gaps_and_each_panel_its_stage():
    drawing = depth_and_heads.depth_against_width(runs())
    assert "right after the cut +10.0 points" in drawing.caption
    assert "after recovery +2.0 points" in drawing.caption
    blocks = drawing.data.query("method == 'block-influence'").groupby("panel")["mean"].mean()
    assert blocks.to_dict() == pytest.approx({"right after the cut": 0.41, "after recovery": 0.83})


def test_a_score_that_orders_the_damage_has_rank_correlation_one_and_the_dearest_is_named():
    axes = plt.figure().subplots()
    score, damage = pd.Series({"a": 1.0, "b": 2.0, "c": 3.0}), pd.Series({"c": 9.0, "a": 0.0, "b": 0.1})
    assert depth_and_heads.foretold(score, damage, axes, named=1) == 1
    assert [text.get_text() for text in axes.texts] == ["c"]
    assert axes.lines[0].get_ydata().tolist() == [0.0, 0.1, 9.0]


def test_points_at_equal_time_are_joined_in_order_of_speed():
    axes = plt.figure().subplots()
    depth_and_heads.at_equal_time({"l1-filter": pd.DataFrame({"speedup": [2.0, 1.0], "accuracy": [0.7, 0.8]})}, axes)
    assert axes.lines[0].get_xydata().tolist() == [[1.0, 0.8], [2.0, 0.7]]
