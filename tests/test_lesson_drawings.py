"""The drawings of filters and channels in notebooks 07 to 09."""

import matplotlib.pyplot as plt
import pandas as pd

from survey_lib.figures import schematics, structures, trained_networks


def test_the_padded_shortcut_moves_four_labels_and_fixes_the_others():
    drawing = schematics.travelling_labels()
    assert drawing.data["after the sum"].tolist() == ["p", "q", "a = r", "b = s", "c = t", "d = u", "v", "w"]
    assert "Channel 1 of the stem is channel 3" in drawing.says
    plt.close(drawing.figure)


def test_criteria_are_compared_at_one_share_by_the_error_that_each_stage_leaves():
    rows = [("l1-filter", "layerwise", 0.3, 0.9), ("l1-filter", "layerwise", 0.3, 0.8)]
    rows += [("taylor-filter", "global", 0.3, 0.95), ("l1-filter", "layerwise", 0.5, 0.1)]
    frame = pd.DataFrame(rows, columns=["method", "scope", "sparsity", "accuracy"])
    stages = {"pruned_accuracy": 0.4, "recalibrated_accuracy": 0.6}
    about = {
        "category": "filter",
        "seed": 0,
        "dense_accuracy": 0.95,
        "model": "resnet-8",
        "data": "eurosat32",
    }
    drawing = structures.criteria(frame.assign(**stages, **about))
    found = drawing.data.set_index("method").round(6)
    assert found["after recovery"].to_dict() == {"l1-filter": 0.15, "taylor-filter": 0.05}
    assert (found["as cut"] == 0.6).all() and "10.0 after recovery" in drawing.says
    plt.close(drawing.figure)


def test_each_repair_loses_no_more_than_the_one_with_less_freedom():
    table = trained_networks.choice_and_repair().data.set_index("choice")
    assert set(table.index) == {"chance", "L1 norm", "ThiNet", "LASSO"}
    assert (table["all weights"] < table["one factor"]).all() and (table["one factor"] < table["none"]).all()
    plt.close("all")
