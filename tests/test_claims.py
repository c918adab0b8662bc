"""Findings are computed from published runs, and the stored ones are what comes out."""

import json

import numpy as np
import pandas as pd
import pytest

from survey_lib.analysis import claims
from survey_lib.analysis.claims import Claim

CLAIM = Claim("trial", "sparsity == 0.5", "method == 'a'", "method == 'b'", ("a", "b", "here"))


def runs(first, second):
    rows = [{"method": name, "seed": seed, "accuracy": value, "compression": 2.0, "key": f"{name}{seed}"}
            for name, values in (("a", first), ("b", second)) for seed, value in enumerate(values)]  # fmt: skip
    return pd.DataFrame(rows).assign(sparsity=0.5, status="done", profile="full")


@pytest.fixture
def published(monkeypatch):
    def use(*sides):
        monkeypatch.setattr(claims.store, "results", lambda *_, **__: runs(*sides))

    return use


def test_a_difference_by_hand(published):
    published([0.8, 0.7, 0.9], [0.7, 0.6, 0.8])
    found = claims.finding("one", CLAIM)
    assert (found["mean"], found["low"], found["high"], found["n"]) == (10, 10, 10, 3)
    assert found["statement"] == "a is above b here: +10.0 points (95 % interval +10.0 to +10.0, n = 3)"
    assert found["keys"] == ["a0", "a1", "a2", "b0", "b1", "b2"]


def test_what_the_interval_does_not_decide_is_not_claimed(published):
    published([0.8, 0.7, 0.9], [0.7, 0.8, 0.85])
    found = claims.finding("one", CLAIM)
    assert "is not told from" in found["statement"]
    half = 4.302653 * np.std([10, -10, 5], ddof=1) / np.sqrt(3)
    assert found["high"] - found["mean"] == pytest.approx(half, abs=1e-3)


def test_two_seeds_carry_no_claim(published):
    published([0.8, 0.7], [0.7, 0.6])
    with pytest.raises(ValueError, match="claim one: 2 seeds have both sides, 3 are needed"):
        claims.finding("one", CLAIM)


STORED = json.loads(claims.FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", claims.claims())
def test_stored_findings_come_out_of_the_published_runs(name):
    assert claims.finding(name, claims.claims()[name]) == STORED[name]


def test_no_finding_is_stored_that_nobody_claims():
    assert STORED.keys() == claims.claims().keys()


def test_unknown_findings_are_refused():
    with pytest.raises(ValueError, match="no finding 'typo'; there are: random-against-l1"):
        claims.stated("typo")
