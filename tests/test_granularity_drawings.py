"""Drawings by granularity: which runs are compared, at which size, and what is drawn."""

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from survey_lib.figures.structured import between as granularity

LOSS = {"magnitude": 0.01, "nm-magnitude": 0.02, "kernel": 0.05, "l1-filter": 0.08, "random": 0.1, "random-filter": 0.12}


@pytest.fixture
def frame():
    rows = [
        (method, {0.5: "2:4", 0.75: "1:4"}[s] if method == "nm-magnitude" else "", s, 1 / (1 - s), 0.9 - loss / (1 - s), "after")
        for method, loss in LOSS.items() for s in (0.5, 0.75)
    ] + [("nm-magnitude", "4:8", 0.5, 2.0, 0.99, "after"), ("nm-srste", "2:4", 0.5, 2.0, 0.99, "during")]  # fmt: skip
    table = pd.DataFrame(rows, columns=["method", "pattern", "sparsity", "compression", "accuracy", "when"])
    table = table.assign(data="digits", recovery="finetune", dense_accuracy=0.95, pruned_accuracy=table["accuracy"] - 0.2)
    return pd.concat([table.assign(seed=seed) for seed in range(3)], ignore_index=True)


def test_one_recipe_leaves_out_what_is_no_granularity(frame):
    runs = granularity.one_recipe(frame.assign(method=frame["method"] + " (finetune)"))
    assert set(runs["method"]) == set(LOSS) and "4:8" not in set(runs["pattern"])


def test_ladder_is_drawn_at_magnitudes_size_and_says_the_price(frame):
    drawing = granularity.ladder(frame)
    means = drawing.data[drawing.data["stage"] == "accuracy"].groupby("method")["accuracy"].mean()
    assert means["kernel"] == pytest.approx(0.9 - 0.05 * 4)
    assert "At 4.0× against single weights: filters -28.0" in drawing.alt and "n of m weights, -4.0" in drawing.alt
    plt.close(drawing.figure)


def test_curves_show_both_stages(frame):
    drawing = granularity.curves(frame)
    assert set(drawing.data["stage"]) == {"right after pruning", "after fine-tuning"} and "28.0 after" in drawing.caption
    plt.close(drawing.figure)


def test_storage_marks_where_a_format_starts_to_pay():
    _, axes = plt.subplots()
    granularity.storage(pd.DataFrame({"csr": [2.0, 1.0, 0.5]}, index=[0.0, 0.5, 0.75]), {"csr": 0.5}, axes)
    assert axes.lines[0].get_ydata().tolist() == [2.0, 1.0, 0.5]
    assert axes.lines[1].get_xdata()[0] == 0.5 and axes.texts[0].get_text() == "0.50"
    plt.close("all")


def test_kept_magnitude_has_a_mark_a_unit():
    _, axes = plt.subplots()
    granularity.kept_magnitude(pd.DataFrame({"trained": [0.8, 0.6]}, index=["weight", "kernel"]), axes)
    assert axes.lines[0].get_xdata().tolist() == [0.8, 0.6]
    plt.close("all")
