"""Methods compared at equal compression and on the Pareto front, on points worked out by hand."""

import base64
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from survey_lib.analysis import statistics
from survey_lib.analysis.statistics import (
    compare,
    contrast,
    crossed_interval,
    difference,
    gain_over_twin,
    gaps,
)


def runs(lines: dict[str, dict[float, float]], seed: int = 0) -> pd.DataFrame:
    """One row a point of lines {method: {compression: accuracy}}."""
    rows = [(method, x, 1 - 1 / x, y, seed) for method, points in lines.items() for x, y in points.items()]
    frame = pd.DataFrame(rows, columns=["method", "compression", "sparsity", "accuracy", "seed"])
    return frame.assign(structure="unstructured")


def mean_gap(frame: pd.DataFrame, first: str, second: str, along: str = "compression") -> pd.Series:
    return gaps(contrast(*(frame[frame["method"] == name] for name in (first, second)), along))


def test_the_gap_is_taken_at_equal_compression_where_both_curves_run():
    """b is a moved one step of 2 to the right: 0.1 better at each compression both reach."""
    frame = runs({"a": {2: 0.9, 4: 0.8, 8: 0.7}, "b": {4: 0.9, 8: 0.8, 16: 0.7}})
    assert mean_gap(frame, "b", "a").tolist() == pytest.approx([0.1])


def test_curves_without_a_common_compression_have_no_gap():
    assert mean_gap(runs({"a": {2: 0.9, 4: 0.8}, "b": {8: 0.8, 16: 0.7}}), "b", "a").empty


def test_the_interval_counts_seeds_not_points():
    frames = [
        runs({"a": {2: 0.9, 8: 0.9}, "b": {2: 0.9 + gap, 8: 0.9 + gap}}, seed)
        for seed, gap in enumerate((0.01, 0.02, 0.03))
    ]
    found = difference(pd.concat(frames, ignore_index=True), "b", "a", "compression")
    assert found.n == 3 and found.mean == pytest.approx(0.02)
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, 2) * 0.01 / math.sqrt(3))


def test_one_seed_gives_a_difference_without_an_interval():
    found = difference(runs({"a": {2: 0.9, 8: 0.7}, "b": {2: 0.8, 8: 0.7}}), "b", "a", "compression")
    assert found.mean == pytest.approx(-0.05) and math.isnan(found.low)


def test_the_common_range_is_stated_and_nothing_is_extrapolated():
    frame = runs({"a": {2: 0.9, 8: 0.7}, "b": {4: 0.8, 16: 0.6}})
    weighted = contrast(frame[frame["method"] == "a"], frame[frame["method"] == "b"], "compression")
    assert (weighted["low"].unique().item(), weighted["high"].unique().item()) == pytest.approx((4, 8))
    assert weighted.groupby("method")["weight"].sum().to_dict() == pytest.approx({"a": 1, "b": -1})


def test_runs_of_two_data_sets_are_not_paired():
    frame = runs({"a": {2: 0.9}, "b": {2: 0.8}}).assign(data=["digits", "mnist"])
    with pytest.raises(ValueError, match="one data, .* got digits, mnist"):
        contrast(frame[frame["method"] == "a"], frame[frame["method"] == "b"])
    narrow = frame.assign(data="digits", model=["wide", "narrow"])  # a small dense control is another model
    assert len(contrast(narrow[narrow["method"] == "a"], narrow[narrow["method"] == "b"])) == 2
    with pytest.raises(ValueError, match="one model, .* got narrow, wide"):
        contrast(narrow, narrow)


def test_stored_answers_widen_the_interval_to_test_examples(monkeypatch):
    """The same gaps by seed; the answers of each run are in its record, or are not."""
    right = np.random.default_rng(0).random((3, 2, 40)) < np.array([0.9, 0.7])[:, None]
    frame = pd.DataFrame(
        [
            {
                "study": "toy",
                "key": f"{seed}{side}",
                "seed": seed,
                "method": "ab"[side],
                "accuracy": right[seed, side].mean(),
            }
            for seed in range(3)
            for side in range(2)
        ]
    )
    weighted = contrast(frame[frame["method"] == "a"], frame[frame["method"] == "b"])
    records = {
        f"{seed}{side}": {
            "metrics": {
                "recovered": {
                    "test": {
                        "n": 40,
                        "correct": base64.b64encode(np.packbits(right[seed, side]).tobytes()).decode(),
                    }
                }
            }
        }
        for seed in range(3)
        for side in range(2)
    }
    monkeypatch.setattr(statistics.store, "published_records", lambda study: records)
    statistics.by_example.cache_clear()
    expected = crossed_interval(right[:, 0].astype(float) - right[:, 1])
    assert vars(compare(weighted)) == pytest.approx(vars(expected))
    del records["21"]
    statistics.by_example.cache_clear()
    assert compare(weighted).examples == 0
    statistics.by_example.cache_clear()


def test_the_losses_of_texts_widen_the_interval_as_answers_do(monkeypatch):
    losses = np.random.default_rng(0).normal([[3.0], [2.5]], 0.4, (3, 2, 30))
    rows = [(f"{seed}{side}", seed, "ab"[side]) for seed in range(3) for side in range(2)]
    frame = pd.DataFrame(rows, columns=["key", "seed", "method"])
    frame = frame.assign(study="toy", loss=losses.mean(2).flatten())
    weighted = contrast(frame[frame["method"] == "a"], frame[frame["method"] == "b"])
    records = {key: {"losses": losses[seed, "ab".index(side)].tolist()} for key, seed, side in rows}
    monkeypatch.setattr(statistics.store, "published_records", lambda study: records)
    statistics.by_example.cache_clear()
    expected = crossed_interval(losses[:, 0] - losses[:, 1])
    assert vars(compare(weighted, "loss")) == pytest.approx(vars(expected))
    statistics.by_example.cache_clear()


def recovered(**changes) -> dict:
    return {
        "key": "k",
        "method": "l1-filter",
        "data": "d",
        "model": "m",
        "seed": 0,
        "epochs": 20,
        "lr": 0.1,
        "recovery": "finetune",
        "recovery_epochs": 4,
        "recovery_lr": 0.02,
        "rewind_epoch": 1,
        "accuracy": 0.9,
    } | changes


def test_the_gain_is_over_the_dense_network_that_trained_as_long():
    """Against the plain dense network (0.88) the gain would be 2 points; against its twin (0.895) it is half a point."""
    table = pd.DataFrame(
        [
            recovered(),
            recovered(method="dense", accuracy=0.895),
            recovered(method="dense", recovery="none", accuracy=0.88),
            recovered(method="dense", recovery_lr=0.2, accuracy=0.5),
            recovered(recovery="scratch-b"),
        ]
    )
    found = gain_over_twin(table)
    assert found["gain"].tolist() == pytest.approx([0.005]) and found["twin"].tolist() == [0.895]


def test_a_run_without_its_twin_is_named():
    table = pd.DataFrame([recovered(key="abc"), recovered(method="dense", seed=1)])
    with pytest.raises(ValueError, match="l1-filter, run abc: one dense twin is needed .*seed 0.*found 0"):
        gain_over_twin(table)


def test_a_difference_of_methods_is_paired_by_seed():
    """b is 0.1, 0.2 and 0.3 above a, whose level changes from seed to seed; c has another seed."""
    frames = [
        runs({"a": {2: 0.4 + level}, "b": {2: 0.5 + 0.1 * seed + level}}, seed)
        for seed, level in enumerate((0.1, 0.3, 0.2))
    ]
    table = pd.concat([*frames, runs({"c": {2: 0.5}}, 7)])
    found = difference(table, "b", "a")
    assert (found.mean, found.n) == (pytest.approx(0.2), 3)
    assert found.high - found.mean == pytest.approx(stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3))
    assert difference(table, "b", "c").n == 0
