"""Replications: the interval and the verdict worked out by hand, and the targets."""

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from survey_lib.analysis.literature import compare, replications


def test_a_single_published_value_is_exact_up_to_its_rounding():
    found = compare(
        [1.8, 2.0, 2.2], 1.5, rounding=0.05
    )  # s = 0.2, n = 3: t · s/√n = 4.3027 · 0.11547 = 0.4968
    assert [found[end] for end in ("gap", "low", "high")] == pytest.approx(
        (0.5, 0.5 - 0.5468, 0.5 + 0.5468), abs=1e-4
    )
    assert found["verdict"] == "undecided"


def test_a_published_spread_widens_the_interval_by_welch():
    ours = [1.9, 2.0, 2.1, 2.0, 2.0]  # s² = 0.005; the paper's 0.1² / 5 = 0.002: variance 0.003
    found = compare(ours, 2.0, 0.1, 5)
    degrees = 0.003**2 / (0.001**2 / 4 + 0.002**2 / 4)  # 7.2
    assert found["high"] == pytest.approx(stats.t.ppf(0.975, degrees) * math.sqrt(0.003))
    assert found["low"] == pytest.approx(-found["high"]) and found["verdict"] == "replicated"


numbers = st.lists(st.floats(0, 10), min_size=3, max_size=8).filter(lambda x: pd.Series(x).std() > 1e-3)


@given(numbers, numbers)
def test_the_interval_is_that_of_scipy_for_two_samples(ours, theirs):
    paper = pd.Series(theirs)
    found = compare(ours, paper.mean(), paper.std(), len(paper))
    expected = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval()
    assert (found["low"], found["high"]) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(
    ("gap", "verdict"),
    [
        (0.0, "replicated"),
        (0.39, "replicated"),
        (0.41, "undecided"),
        (-0.59, "undecided"),
        (-0.61, "not replicated"),
    ],
)
def test_the_verdict_asks_where_the_whole_interval_is(gap, verdict):
    assert compare([2.0, 2.0], 2.0 - gap, rounding=0.1)["verdict"] == verdict  # no spread: ± 0.1


def test_one_run_carries_no_verdict():
    with pytest.raises(ValueError, match="two runs or more; got 1"):
        compare([2.0], 2.0)


def _runs(errors: list[float], **fields) -> pd.DataFrame:
    same = {
        "model": "lenet-300-100",
        "method": "dense",
        "optimizer": "heavy-ball",
        "lr": 0.01,
        "status": "done",
    }
    same |= {
        "ticket": "original",
        "sparsity": 0.0,
        "evidence": 100,
        "epochs": 20,
        "inputs": "unit",
        "init": "own",
    } | fields
    rows = [
        same | {"seed": seed, "accuracy": 1 - error / 100, "best_test_accuracy": 1 - error / 100 + 0.001}
        for seed, error in enumerate(errors)
    ]
    return pd.DataFrame(rows)


def test_a_target_is_compared_at_the_epoch_that_its_source_reports():
    runs = pd.concat([_runs([1.9, 2.1]), _runs([1.4, 1.6], method="magnitude", sparsity=0.917)])
    table = replications(runs)
    assert list(table.index) == ["dst-300-ref", "han-300"]
    dense, han = table.itertuples()
    assert (dense.published, dense.last, dense.best, dense.epoch) == (
        1.84,
        pytest.approx(2),
        pytest.approx(1.9),
        "best",
    )
    assert (dense.std, dense.published_n, dense.n) == (0.06, 5, 2) and dense.gap == pytest.approx(0.06)
    assert (han.ours, han.epoch) == (pytest.approx(1.5), "last") and math.isnan(han.std)


def test_two_runs_of_a_seed_are_not_averaged():
    with pytest.raises(ValueError, match="dst-300-ref .* one run a seed; leaves 4"):
        replications(pd.concat([_runs([1.9, 2.1]), _runs([1.9, 2.1])]))


def test_every_published_run_with_a_target_was_tested_on_all_test_images_after_every_epoch():
    assert replications()[["last", "best"]].notna().all(axis=None)
