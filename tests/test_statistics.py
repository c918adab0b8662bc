"""Each statistic on a case small enough to work out by hand, against a published table, or by simulation."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import stats

from survey_lib.analysis.statistics import (
    TooFew,
    at_compression,
    crossed_interval,
    holm,
    interval,
    ranking,
)


def frame(accuracies: dict[str, list[float]]) -> pd.DataFrame:
    """One row a method and seed at one compression."""
    rows = [
        {
            "method": method,
            "data": "d",
            "model": "m",
            "sparsity": 0.5,
            "compression": 2.0,
            "test_n": 5400,
            "seed": seed,
            "accuracy": value,
        }
        for method, values in accuracies.items()
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_an_interval_over_seeds_by_hand():
    """Differences 0.01, 0.02, 0.03: mean 0.02, s = 0.01, t(2, 0.975) = 4.3027; t = 3.464 has p = 0.0742."""
    found = interval(pd.Series([0.01, 0.02, 0.03]))
    assert (found.n, found.examples, found.over) == (3, 0, "seeds")
    assert found.mean == pytest.approx(0.02)
    assert found.high - found.mean == pytest.approx(4.302653 * 0.01 / np.sqrt(3), rel=1e-6)
    assert found.p == pytest.approx(0.0742, abs=1e-4)


def test_an_interval_over_seeds_and_examples_by_hand():
    """Mean squares: seeds 1/8, examples 11/24, rest 1/8, so Var = 11/24/8 with (11/24)² / (157/1728) degrees."""
    found = crossed_interval(np.array([[1, 1, 0, 0], [1, 0, 0, 0]]))
    assert (found.mean, found.n, found.examples, found.over) == (3 / 8, 2, 4, "seeds and test examples")
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, 363 / 157) * np.sqrt(11 / 192))


def test_without_differences_between_examples_the_interval_is_that_of_the_seeds():
    by_seed = np.array([0.1, 0.3, 0.2, 0.5])
    found, seeds = crossed_interval(np.tile(by_seed[:, None], 50)), interval(pd.Series(by_seed))
    assert (found.low, found.high, found.p) == pytest.approx((seeds.low, seeds.high, seeds.p))


@settings(max_examples=60, deadline=None)
@given(arrays(int, array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=8), elements=st.integers(-1, 1)))
def test_p_agrees_with_the_interval_and_sides_can_be_swapped(gaps):
    found, swapped = crossed_interval(gaps), crossed_interval(-gaps)
    assert (found.p < 0.05) == (found.low > 0 or found.high < 0)
    assert (swapped.low, swapped.high, swapped.p) == pytest.approx((-found.high, -found.low, found.p))


def test_coverage_is_95_percent_where_an_interval_over_seeds_covers_far_less():
    """A latent score with effects of method, seed, example, method with example, and noise; its mean is known."""
    random, seeds, n, spread = np.random.default_rng(0), 5, 300, (0.1, 1.0, 0.6, 0.4)
    true = np.subtract(*stats.norm.cdf(np.array([1.5, 1.3]) / np.linalg.norm(spread)))
    covered = []
    for _ in range(1000):
        example = random.normal(0, spread[1], n)
        right = [
            level
            + random.normal(0, spread[0], (seeds, 1))
            + example
            + random.normal(0, spread[2], n)
            + random.normal(0, spread[3], (seeds, n))
            > 0
            for level in (1.5, 1.3)
        ]
        gaps = right[0].astype(float) - right[1]
        both, over_seeds = crossed_interval(gaps), interval(pd.Series(gaps.mean(1)))
        covered.append([one.low <= true <= one.high for one in (both, over_seeds)])
    both, over_seeds = np.mean(covered, axis=0)
    assert 0.93 <= both <= 0.97
    assert over_seeds < 0.88


def test_an_interval_over_both_needs_more_than_one_seed():
    with pytest.raises(TooFew, match="two seeds and two test examples; got 1 and 3"):
        crossed_interval(np.zeros((1, 3)))


def test_holm_by_hand():
    """m = 4: 0.005·4, 0.01·3, 0.03·2, 0.04·1 = 0.02, 0.03, 0.06, 0.04, which may not fall: 0.06. (Holm 1979)"""
    found = holm(pd.Series({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}))
    assert found.to_dict() == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert holm(pd.Series([0.4, np.nan, 0.9])).tolist() == [1, 1, 1]


def test_ranks_with_a_tie_by_hand():
    found = ranking(frame({"a": [0.9, 0.9], "b": [0.8, 0.9], "c": [0.7, 0.7]}))
    assert found.ranks.to_dict() == {"a": 1.25, "b": 1.75, "c": 3.0}
    assert found.blocks == 2


def test_sparsities_of_one_seed_are_one_block_ranked_at_equal_compression():
    """c keeps half of what a and b keep: at 4 times, its strongest common compression, its value is that at 0.5."""
    table = pd.concat(
        [
            frame({"a": [0.9] * 2, "b": [0.8] * 2, "c": [0.85] * 2}).assign(compression=[2, 2, 2, 2, 4, 4]),
            frame({"a": [0.8] * 2, "b": [0.7] * 2, "c": [0.1] * 2}).assign(
                sparsity=0.75, compression=[4, 4, 4, 4, 16, 16]
            ),
        ]
    )
    found = ranking(table)
    assert found.blocks == 2
    assert found.ranks.to_dict() == {"c": 1, "a": 2, "b": 3}


@pytest.mark.parametrize(("methods", "q"), [(3, 2.343), (5, 2.728), (10, 3.164)])
def test_critical_difference_against_the_table_of_demsar(methods, q):
    """Critical values of the two-tailed Nemenyi test at 0.05 (Demšar 2006, table 5)."""
    table = frame({f"m{i}": [0.5 + 0.01 * i + 0.1 * seed for seed in range(10)] for i in range(methods)})
    expected = q * np.sqrt(methods * (methods + 1) / 60)
    assert ranking(table).critical_difference == pytest.approx(expected, rel=3e-4)


def test_fewer_than_ten_blocks_have_ranks_but_no_critical_difference():
    found = ranking(frame({"a": [0.9] * 9, "b": [0.8] * 9, "c": [0.7] * 9}))
    assert found.ranks.to_dict() == {"a": 1, "b": 2, "c": 3}
    assert np.isnan(found.critical_difference)


@pytest.mark.parametrize("images", [2499, np.nan])
def test_few_test_images_have_ranks_but_no_critical_difference(images):
    """Ten blocks, of which one was judged on 2,499 images, or does not say on how many."""
    table = frame({"a": [0.9] * 10, "b": [0.8] * 10, "c": [0.7] * 10})
    assert ranking(table).critical_difference < 2
    found = ranking(table.assign(test_n=table["test_n"].where(table["seed"] > 0, images)))
    assert found.ranks.to_dict() == {"a": 1, "b": 2, "c": 3}
    assert np.isnan(found.critical_difference)


def test_friedman_sees_a_fixed_order_and_no_order():
    fixed = ranking(frame({"a": [0.9] * 12, "b": [0.8] * 12, "c": [0.7] * 12}))
    turning = ranking(frame({"a": [0.9, 0.8, 0.7] * 4, "b": [0.8, 0.7, 0.9] * 4, "c": [0.7, 0.9, 0.8] * 4}))
    assert fixed.p_value < 0.001
    assert fixed.ranks["c"] - fixed.ranks["a"] == 2 > fixed.critical_difference
    assert turning.p_value == pytest.approx(1.0)
    assert turning.ranks["c"] == turning.ranks["a"]


def test_a_ranking_needs_methods_and_common_blocks():
    with pytest.raises(TooFew, match="with every method; got 0"):
        ranking(pd.concat([frame({"a": [0.5], "b": [0.4]}), frame({"c": [0.5]}).assign(seed=7)]))
    with pytest.raises(ValueError, match="3 methods; got a, b"):
        ranking(frame({"a": [0.5, 0.4], "b": [0.4, 0.3]}))
    with pytest.raises(TooFew, match="two blocks"):
        ranking(frame({"a": [0.5], "b": [0.4], "c": [0.3]}))


def test_at_compression_interpolates_on_the_logarithm_and_leaves_out_who_does_not_reach_it():
    """a: 0.9 at 2×, 0.7 at 8×, so 0.8 at 4×; b ends at 4×, c starts at 8×."""
    table = pd.DataFrame(
        {
            "method": ["a", "a", "b", "b", "c"],
            "sparsity": [0.5, 0.875, 0.5, 0.75, 0.9],
            "compression": [2.0, 8.0, 2.0, 4.0, 8.0],
            "accuracy": [0.9, 0.7, 0.8, 0.6, 0.5],
        }
    )
    found = at_compression(table)
    assert found.name == 4
    assert found.to_dict() == {"a": pytest.approx(0.8), "b": pytest.approx(0.6)}
    assert list(at_compression(table, 8).index) == ["a", "c"]
