"""The figures of notebook 03: criteria against magnitude."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from survey_lib.figures import weights


@pytest.fixture
def frame():
    """Two seeds; OBS 10 and 12 points above magnitude without recovery, equal after it; a run of more evidence apart."""
    accuracy = {("magnitude", "none"): 0.5, ("obs", "none"): 0.6, ("random", "none"): 0.1}
    rows = [
        {
            "method": method,
            "recovery": recovery,
            "seed": seed,
            "evidence": evidence,
            "sparsity": 0.9,
            "accuracy": accuracy.get((method, recovery), 0.8)
            + 0.02 * seed * (method == "obs") * (recovery == "none"),
        }
        for method in ("magnitude", "obs", "random")
        for recovery in ("none", "finetune")
        for seed in (0, 1)
        for evidence in (250, 1000)
    ]
    fixed = {"data": "digits", "model": "m", "scope": "layerwise", "compression": 10.0, "dense_accuracy": 0.9}
    return pd.DataFrame(rows).assign(**fixed)


def test_gains_are_paired_by_seed_and_kept_apart_by_stage(frame):
    drawing = weights.gains(frame)
    table = drawing.data.set_index("stage")
    assert table.loc["without recovery", "mean"] == pytest.approx(11)
    assert table.loc["after recovery", "mean"] == pytest.approx(0) and (table["n"] == 2).all()
    assert table.loc["without recovery", "low"] < 0  # two seeds, a wide interval
    assert (
        "No criterion is clearly above magnitude without recovery, and no criterion after it" in drawing.says
    )
    plt.close(drawing.figure)


def test_a_sparsity_at_which_only_magnitude_ran_is_left_out(frame):
    alone = frame[frame["method"] == "magnitude"].assign(sparsity=0.5)
    drawing = weights.gains(pd.concat([frame, alone]))
    assert 0.5 not in set(drawing.data["sparsity"])
    plt.close(drawing.figure)


def test_the_range_of_criteria_leaves_random_out(frame):
    drawing = weights.before_and_after(frame)
    assert "criteria differ by 11.0 without recovery, 0.0 after recovery (points)" in drawing.says
    assert drawing.data.query("method == 'obs, layerwise' and stage == 'without recovery'")[
        "mean"
    ].item() == pytest.approx(0.39)
    plt.close(drawing.figure)
