"""What sparse training would cost, by hand."""

import pandas as pd
import pytest

from survey_lib.figures.unstructured.during_training import schedule, sparse_training_macs

ROW = {"method": "dense", "sparsity": 0.0, "when": "dense", "recovery": "none", "training_macs": 100, "recovery_macs": 0}


def macs(**changes):
    return sparse_training_macs(pd.DataFrame([ROW | changes])).item()


def test_each_stage_costs_its_density():
    after = {"method": "magnitude", "when": "after", "recovery": "finetune", "sparsity": 0.8}
    assert macs() == 100
    assert macs(**after, training_macs=140, recovery_macs=40) == pytest.approx(100 + 0.2 * 40)
    assert macs(method="rigl", when="during", sparsity=0.8) == pytest.approx(20)


def test_a_random_mask_needs_no_dense_network():
    static = {"method": "random", "when": "any", "recovery": "scratch-e", "sparsity": 0.9}
    assert macs(**static, training_macs=200, recovery_macs=100) == pytest.approx(10)


def test_the_cubic_rests_for_the_last_quarter():
    line = schedule("gradual", 0.8)
    # 10 % at 0, the cubic over 65 % (mean three quarters of 0.8), 0.8 over the last 25 %
    assert line[150] == pytest.approx(0.8) and line[149] < 0.8
    assert line.mean() == pytest.approx(0.8 * (0.25 + 0.65 * 0.75), abs=0.005)
