"""Methods compared at equal compression and on the Pareto front, on points worked out by hand."""

import math

import pandas as pd
import pytest
from scipy import stats

from survey_lib.analysis.equal_compression import against, mean_gap, on_front


def runs(lines: dict[str, dict[float, float]], seed: int = 0) -> pd.DataFrame:
    """One row a point of lines {method: {compression: accuracy}}."""
    rows = [(method, x, 1 - 1 / x, y, seed) for method, points in lines.items() for x, y in points.items()]
    frame = pd.DataFrame(rows, columns=["method", "compression", "sparsity", "accuracy", "seed"])
    return frame.assign(structure="unstructured")


def test_the_front_holds_what_nothing_beats_and_both_of_two_equal_points():
    points = pd.DataFrame({"compression": [2, 4, 4, 8, 8], "accuracy": [0.9, 0.8, 0.7, 0.8, 0.8]})
    assert on_front(points).tolist() == [True, False, False, True, True]


def test_the_gap_is_taken_at_equal_compression_where_both_curves_run():
    """b is a moved one step of 2 to the right: 0.1 better at each compression both reach."""
    frame = runs({"a": {2: 0.9, 4: 0.8, 8: 0.7}, "b": {4: 0.9, 8: 0.8, 16: 0.7}})
    assert mean_gap(frame, "b", "a").tolist() == pytest.approx([0.1])


def test_curves_without_a_common_compression_have_no_gap():
    assert mean_gap(runs({"a": {2: 0.9, 4: 0.8}, "b": {8: 0.8, 16: 0.7}}), "b", "a").empty


def test_equal_sparsity_and_equal_compression_may_disagree_in_sign():
    """c removes the same shares as a but with each is twice as small, and less accurate."""
    frame = runs({"a": {2: 0.9, 4: 0.8, 8: 0.7}})
    other = frame.assign(method="c", compression=2 * frame["compression"], accuracy=frame["accuracy"] - 0.02)
    both = pd.concat([frame, other], ignore_index=True)
    assert mean_gap(both, "c", "a", "sparsity").item() == pytest.approx(-0.02)
    assert mean_gap(both, "c", "a").item() == pytest.approx(0.08)


def test_the_interval_counts_seeds_not_points():
    frames = [runs({"a": {2: 0.9, 8: 0.9}, "b": {2: 0.9 + gap, 8: 0.9 + gap}}, seed)
              for seed, gap in enumerate((0.01, 0.02, 0.03))]  # fmt: skip
    row = against(pd.concat(frames, ignore_index=True), lambda structure: "a").iloc[0]
    assert row["n"] == 3 and row["mean"] == pytest.approx(0.02)
    assert row["high"] - row["mean"] == pytest.approx(stats.t.ppf(0.975, 2) * 0.01 / math.sqrt(3))


def test_one_seed_gives_a_difference_without_an_interval():
    row = against(runs({"a": {2: 0.9, 8: 0.7}, "b": {2: 0.8, 8: 0.7}}), lambda structure: "a").iloc[0]
    assert row["mean"] == pytest.approx(-0.05) and math.isnan(row["low"])
