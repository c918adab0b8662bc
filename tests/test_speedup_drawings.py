"""Drawings of measured time."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from survey_lib.experiment import speed
from survey_lib.figures import structures


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def chain() -> pd.DataFrame:
    keys = [("dense", "eager"), ("cut", "eager"), ("masked", "eager"), ("aligned", "onnx"), ("dense", "onnx")]
    measured = [1.0, 2.0, 0.9, 5.0, 2.0]
    rows = [
        {
            "model": "m",
            "batch": 16,
            "threads": 1,
            "variant": variant,
            "runtime": runtime,
            "median_s": 0.01 / speed,
            "speedup_measured": speed,
            "speedup_low": speed - 0.1,
            "speedup_high": speed + 0.1,
            "speedup_theoretical": 4.0,
            "file_bytes": 2e6,
        }
        for (variant, runtime), speed in zip(keys, measured, strict=True)
    ]
    return pd.DataFrame([*rows, {**rows[0], "batch": 64}])


def test_staircase_keeps_the_order_of_the_steps_and_leaves_out_what_was_not_measured():
    table = structures.staircase_table(chain(), "m")
    assert list(table.index) == ["dense", "masked", "cut", "aligned, ONNX Runtime"]
    assert table.loc["cut", ["ms", "MB"]].tolist() == pytest.approx([5.0, 2.0])


def test_each_step_is_divided_by_the_dense_model_in_the_same_runtime():
    table = structures.staircase_table(chain(), "m")
    assert table["everything"].tolist() == [1.0, 0.9, 2.0, 5.0]
    assert table["pruning"].tolist() == pytest.approx([1.0, 0.9, 2.0, 2.5])  # dense is 2 times faster in ONNX
    assert table.loc["aligned, ONNX Runtime", ["low", "high"]].tolist() == pytest.approx(
        [4.9 / 2.1, 5.1 / 1.9]
    )
    assert table.loc["dense", ["low", "high"]].tolist() == [1.0, 1.0]


def test_the_figure_has_a_bar_a_step_and_says_how_fast_aligned_cuts_are(monkeypatch):
    monkeypatch.setattr(speed, "read", lambda: {"chain": chain().assign(machine="here", torch="2")})
    drawing = structures.staircase()
    bars = drawing.figure.axes[0].patches[1:]  # the first is the band
    assert [bar.get_width() for bar in bars] == pytest.approx([1.0, 0.9, 2.0, 2.5])
    assert "is 2.5 to 2.5 times as fast" in drawing.says
