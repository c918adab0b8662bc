"""Drawings of measured time."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from survey_lib.figures.comparisons import from_mask_to_speed


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
    table = from_mask_to_speed.staircase_table(chain(), "m")
    assert list(table.index) == ["dense", "masked", "cut", "aligned, ONNX Runtime"]
    assert table.loc["cut", ["ms", "MB"]].tolist() == pytest.approx([5.0, 2.0])


def test_each_step_is_divided_by_the_dense_model_in_the_same_runtime():
    table = from_mask_to_speed.staircase_table(chain(), "m")
    assert table["everything"].tolist() == [1.0, 0.9, 2.0, 5.0]
    assert table["pruning"].tolist() == pytest.approx([1.0, 0.9, 2.0, 2.5])  # dense is 2 times faster in ONNX
    assert table.loc["aligned, ONNX Runtime", ["low", "high"]].tolist() == pytest.approx(
        [4.9 / 2.1, 5.1 / 1.9]
    )
    assert table.loc["dense", ["low", "high"]].tolist() == [1.0, 1.0]
    figure = from_mask_to_speed.staircase({"m": table})
    assert [bar.get_width() for bar in figure.axes[0].patches[1:]] == pytest.approx([1.0, 0.9, 2.0, 2.5])


def test_the_resolution_is_the_range_of_models_that_do_the_dense_work():
    table = chain()
    small = table.assign(batch=1, speedup_measured=0.5)  # too short to time well
    assert from_mask_to_speed.resolution(pd.concat([table, small])) == (0.9, 0.9)


def kernels() -> pd.DataFrame:
    rows = [
        (0.5, "csr", 2.0),
        (0.9, "csr", 0.8),
        (0.95, "csr", 1.1),
        (0.99, "csr", 0.2),
        (0.5, "bsr", 3.0),
        (0.99, "bsr", 1.2),
    ]
    frame = pd.DataFrame(rows, columns=["sparsity", "kernel", "ratio"]).assign(batch=1)
    frame = pd.concat(
        [frame, pd.DataFrame({"sparsity": [0.5], "kernel": ["dense"], "ratio": [1.0], "batch": [1]})]
    )
    return frame.assign(ratio_low=frame["ratio"] - 0.1, ratio_high=frame["ratio"] + 0.1)


def test_crossover_is_where_all_sparser_products_win_too():
    table = from_mask_to_speed.crossover_table(kernels())
    assert table.loc["csr", 1] == 0.99  # 0.9 wins, but 0.95 does not
    assert "bsr" not in table.index


def test_kernels_are_drawn_as_speed_ups_over_density():
    _, axes = plt.subplots()
    from_mask_to_speed.kernels(kernels(), axes)
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["csr"].get_ydata().tolist() == pytest.approx([0.5, 1.25, 1 / 1.1, 5.0])
    assert lines["csr"].get_xdata().tolist() == pytest.approx([0.5, 0.1, 0.05, 0.01])


def test_roofline_bends_where_the_ceilings_meet():
    rows = pd.DataFrame(
        {
            "kind": ["norm", "convolution"],
            "variant": ["dense", "cut"],
            "intensity": [0.5, 20.0],
            "attained": [1e9, 50e9],
            "peak": [100e9] * 2,
            "bandwidth": [20e9] * 2,
        }
    )
    _, axes = plt.subplots()
    from_mask_to_speed.roofline(rows, axes)
    assert axes.lines[0].get_xdata().tolist() == [0.25, 5, 40]
    assert axes.lines[0].get_ydata().tolist() == [5, 100, 100]


def test_no_operator_is_above_the_flat_part_of_the_roof():
    rows = pd.DataFrame(
        {
            "kind": ["convolution"],
            "variant": ["cut"],
            "intensity": [20.0],
            "attained": [120e9],
            "peak": [100e9],
            "bandwidth": [20e9],
        }
    )
    _, axes = plt.subplots()
    from_mask_to_speed.roofline(rows, axes)
    assert axes.lines[0].get_ydata().max() == 120


def test_storage_is_drawn_as_a_share_of_the_dense_bytes():
    table = pd.DataFrame(
        {
            "format": ["dense", "csr", "csr"],
            "sparsity": [0.0, 0.9, 0.5],
            "raw": [400, 80, 400],
            "zlib": [300, 70, 350],
        }
    )
    _, axes = plt.subplots()
    from_mask_to_speed.storage(table, axes, "zlib")
    assert axes.lines[1].get_ydata().tolist() == [350 / 400, 70 / 400]


def test_kinds_of_operators_are_compared_dense_over_aligned():
    rows = [
        ("dense", "norm", 8.0, 6.0),
        ("aligned", "norm", 4.0, 3.0),
        ("dense", "convolution", 16.0, 18.0),
        ("aligned", "convolution", 4.0, 6.0),
        ("cut", "norm", 9.0, 9.0),
    ]
    frame = pd.DataFrame(rows, columns=["variant", "kind", "flops", "seconds"]).assign(model="m", bytes=2.0)
    table = from_mask_to_speed.by_kind(frame).loc["m"]
    assert table["flops"].to_dict() == {"convolution": 4, "norm": 2}
    assert table["seconds"].to_dict() == {"convolution": 3, "norm": 2}
    assert table["share"].to_dict() == {"convolution": 0.75, "norm": 0.25}
