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
)


def test_an_interval_over_seeds_by_hand():
    """Differences 0.01, 0.02, 0.03: mean 0.02, s = 0.01, t(2, 0.975) = 4.3027; t = 3.464 has p = 0.0742."""
    found = interval(pd.Series([0.01, 0.02, 0.03]))
    assert (found.n, found.examples) == (3, 0)
    assert found.mean == pytest.approx(0.02)
    assert found.high - found.mean == pytest.approx(4.302653 * 0.01 / np.sqrt(3), rel=1e-6)
    assert found.p == pytest.approx(0.0742, abs=1e-4)


def test_an_interval_over_seeds_and_examples_by_hand():
    """Mean squares: seeds 1/8, examples 11/24, rest 1/8, so Var = 11/24/8 with (11/24)² / (157/1728) degrees."""
    found = crossed_interval(np.array([[1, 1, 0, 0], [1, 0, 0, 0]]))
    assert (found.mean, found.n, found.examples) == (3 / 8, 2, 4)
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
