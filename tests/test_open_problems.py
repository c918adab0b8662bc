"""Open problems rest on named papers, claims and published rows; the seeds a question takes are reckoned right."""

import math

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from survey_lib.analysis import claims, literature
from survey_lib.analysis.statistics import interval
from survey_lib.experiment.sweeps import study
from survey_lib.figures.comparisons import open_problems


def test_seven_seeds_for_one_point_at_a_spread_of_one():
    assert open_problems.seeds_needed([1.0, 2.0, 3.0], effect=1.0) == 7  # t(6) / √7 = 0.92, t(5) / √6 = 1.05


@settings(deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6), st.floats(0.5, 5))
def test_one_seed_fewer_is_too_few(gaps, effect):
    n = open_problems.seeds_needed(gaps, effect)
    spread = pd.Series(gaps).std(ddof=1)

    def half(n):
        scaled = pd.Series([-1.0, 1.0] * (n // 2) + [0.0] * (n % 2))
        return interval(scaled).high * spread / scaled.std(ddof=1)

    assert half(n) <= effect * (1 + 1e-9)
    assert n == 2 or half(n - 1) > effect


def test_an_effect_of_nothing_is_refused():
    with pytest.raises(ValueError, match="effect must be above 0, got 0"):
        open_problems.seeds_needed([1.0, 2.0], 0)


def test_a_difference_of_two_published_rows():
    pair = {
        "says": ["HRank", "random", ""],
        "where": "reported_by == 'li2024pruningbench' and model == 'ResNet-50' and dataset == 'CIFAR-100' and speedup == 2",
        "first": "method == 'HRank (PruningBench)'",
        "second": "method == 'random (PruningBench)'",
    }
    assert open_problems.difference(pair) == pytest.approx(76.13 - 77.97)
    assert open_problems.difference(pair, "nats") == pytest.approx(math.log(76.13 / 77.97), abs=1e-4)


def test_a_side_that_is_not_one_row_is_named():
    pair = {
        "says": ["a", "b", "c"],
        "where": "speedup == 2",
        "first": "method == 'nobody'",
        "second": "method == 'nobody'",
    }
    with pytest.raises(
        ValueError, match=r"'a', 'b', 'c'.*each side must be one published row, found \[0, 0\]"
    ):
        open_problems.difference(pair)


@pytest.mark.parametrize("problem", open_problems.problems().values(), ids=open_problems.problems())
def test_every_problem_rests_on_what_is_here(problem):
    assert set(problem.papers) <= set(literature.papers().index)
    assert set(problem.ours) <= claims.claims().keys()
    assert problem.study in study.names()
    assert problem.ours or problem.speed


def test_the_figure_shows_every_difference():
    drawing = open_problems.open_problems()
    shown = [axes for axes in drawing.figure.axes if axes.get_visible()]
    assert len(shown) == len(open_problems.problems())
    assert sum(len(axes.texts) for axes in shown) == len(drawing.data)
    assert set(drawing.data.loc[drawing.data.claim != "", "claim"]) <= claims.claims().keys()
