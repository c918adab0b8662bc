"""Depth against width: the gap at equal MACs, and what the figure shows of it."""

from itertools import product

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from survey_lib.figures import structures


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def runs() -> pd.DataFrame:
    """Blocks lie 2 points above filters at every speed-up after recovery, 10 before."""
    rows = []
    for method, speed, seed in product(("block-influence", "l1-filter"), (2.0, 4.0), range(3)):
        better = method == "block-influence"
        rows.append(
            {
                "data": "toy",
                "model": "toy",
                "method": method,
                "structure": "structured",
                "recovery": "finetune",
                "sparsity": 1 - 1 / speed,
                "seed": seed,
                "speedup_theoretical": speed,
                "dense_accuracy": 0.9,
                "accuracy": 0.8 + 0.02 * better + 0.01 * seed,
                "pruned_accuracy": 0.3 + 0.1 * better + 0.01 * seed,
            }
        )
    return pd.DataFrame(rows)


def test_the_title_holds_both_gaps_and_each_panel_its_stage():
    drawing = structures.depth_against_width(runs())
    assert drawing.says == (
        "Right after the cut leaving out blocks is 10 points better than narrowing layers; "
        "after recovery leaving out blocks is 2 points better than narrowing layers"
    )
    blocks = drawing.data.query("method == 'block-influence'").groupby("panel")["mean"].mean()
    assert blocks.to_dict() == pytest.approx({"right after the cut": 0.59, "after recovery": 0.17})
