"""Each statistic on a case small enough to work out by hand, or against a published table."""

import numpy as np
import pandas as pd
import pytest

from survey_lib.analysis.statistics import (
    area_under_curve,
    at_compression,
    mean_ranks_by,
    paired_difference,
    rank_stability,
    ranking,
)


def frame(accuracies: dict[str, list[float]], seeds: int | None = None) -> pd.DataFrame:
    """One row a method and seed at one sparsity."""
    rows = [
        {"method": method, "data": "d", "model": "m", "sparsity": 0.5, "seed": seed, "accuracy": value}
        for method, values in accuracies.items()
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_paired_difference_by_hand():
    """Differences 0.01, 0.02, 0.03: mean 0.02, s = 0.01, t(2, 0.975) = 4.3027, so 4.3027 · 0.01 / √3."""
    found = paired_difference(frame({"a": [0.91, 0.82, 0.73], "b": [0.90, 0.80, 0.70]}), "a", "b")
    assert found.n == 3
    assert found.mean == pytest.approx(0.02)
    assert found.high - found.mean == pytest.approx(4.302653 * 0.01 / np.sqrt(3), rel=1e-6)


def test_paired_difference_ignores_settings_only_one_method_has():
    table = frame({"a": [0.5, 0.6, 0.9], "b": [0.4, 0.5]})
    assert paired_difference(table, "a", "b").n == 2


def test_paired_difference_names_what_there_is():
    with pytest.raises(ValueError, match="method 'c' has no runs; there are: a, b"):
        paired_difference(frame({"a": [1.0], "b": [1.0]}), "c", "a")


def test_ranks_with_a_tie_by_hand():
    found = ranking(frame({"a": [0.9, 0.9], "b": [0.8, 0.9], "c": [0.7, 0.7]}))
    assert found.ranks.to_dict() == {"a": 1.25, "b": 1.75, "c": 3.0}
    assert found.settings == 2


@pytest.mark.parametrize(("methods", "q"), [(3, 2.343), (5, 2.728), (10, 3.164)])
def test_critical_difference_against_the_table_of_demsar(methods, q):
    """Critical values of the two-tailed Nemenyi test at 0.05 (Demšar 2006, table 5)."""
    table = frame({f"m{i}": [0.5 + 0.01 * i + 0.1 * seed for seed in range(6)] for i in range(methods)})
    expected = q * np.sqrt(methods * (methods + 1) / 36)
    assert ranking(table).critical_difference == pytest.approx(expected, rel=3e-4)


def test_friedman_sees_a_fixed_order_and_no_order():
    fixed = ranking(frame({"a": [0.9] * 8, "b": [0.8] * 8, "c": [0.7] * 8}))
    turning = ranking(frame({"a": [0.9, 0.8, 0.7], "b": [0.8, 0.7, 0.9], "c": [0.7, 0.9, 0.8]}))
    assert fixed.p_value < 0.001
    assert fixed.apart("a", "c")
    assert turning.p_value == pytest.approx(1.0)
    assert not turning.apart("a", "c")


def test_ranking_needs_common_settings():
    rows = pd.concat([frame({"a": [0.5]}), frame({"b": [0.5]}).assign(seed=7)])
    with pytest.raises(ValueError, match="no setting has a run of every method"):
        ranking(rows)


def test_rank_stability_by_hand():
    """Orders abc, abc, cba: τ is 1, −1, −1, so −1/3 on average."""
    table = frame({"a": [0.9, 0.9, 0.7], "b": [0.8, 0.8, 0.8], "c": [0.7, 0.7, 0.9]})
    assert rank_stability(table, "seed") == pytest.approx(-1 / 3)
    assert mean_ranks_by(table, "seed").loc["a"].tolist() == [1, 1, 3]


def test_area_under_a_line_in_log_compression_is_its_middle():
    table = pd.DataFrame({"method": "a", "compression": [1.0, 4.0, 16.0], "accuracy": [0.9, 0.8, 0.7]})
    assert area_under_curve(table)["a"] == pytest.approx(0.8)


def test_area_needs_two_points():
    with pytest.raises(ValueError, match="a curve needs two"):
        area_under_curve(pd.DataFrame({"method": ["a"], "compression": [2.0], "accuracy": [0.9]}))


def test_at_compression_interpolates_on_the_logarithm_and_leaves_out_who_does_not_reach_it():
    """a: 0.9 at 2×, 0.7 at 8×, so 0.8 at 4×; b ends at 4×, c starts at 8×."""
    table = pd.DataFrame({
        "method": ["a", "a", "b", "b", "c"], "sparsity": [0.5, 0.875, 0.5, 0.75, 0.9],
        "compression": [2.0, 8.0, 2.0, 4.0, 8.0], "accuracy": [0.9, 0.7, 0.8, 0.6, 0.5],
    })  # fmt: skip
    found = at_compression(table)
    assert found.name == 4
    assert found.to_dict() == {"a": pytest.approx(0.8), "b": pytest.approx(0.6)}
    assert list(at_compression(table, 8).index) == ["a", "c"]
