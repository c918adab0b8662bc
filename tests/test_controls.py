"""The controls of notebook 16 on runs whose differences and costs can be worked out by hand."""

import pandas as pd
import pytest

from survey_lib.figures import comparisons


def runs(method, recovery, accuracies, training, after, epochs, model="resnet-8"):
    columns = {"seed": [0, 1, 2], "accuracy": accuracies, "training_macs": training, "recovery_macs": after}
    fixed = {"method": method, "recovery": recovery, "model": model, "trained_epochs": epochs, "epochs": 20}
    return pd.DataFrame(columns | fixed | {"data": "d"})


STUDY = pd.concat(
    [
        runs("dense", "none", [0.9, 0.8, 0.7], 100.0, 0.0, 20),
        runs("l1-filter", "finetune", [0.8, 0.7, 0.6], 105.0, 5.0, 24),
        runs("l1-filter", "lr-rewind", [0.91, 0.80, 0.69], 125.0, 25.0, 39),
        runs("l1-filter", "scratch-e", [0.7, 0.8, 0.6], 130.0, 30.0, 40),
        runs("dense", "none", [0.7, 0.6, 0.5], 26.0, 0.0, 20, "resnet-8-narrow"),
    ]
)


def test_a_control_is_subtracted_seed_by_seed():
    table = comparisons.against_fine_tuning(STUDY)
    rewound = table.loc["cut, rate rewound"]
    assert rewound["mean"] == pytest.approx(0.1) and 0 < rewound["low"] < 0.1 < rewound["high"]
    assert rewound["seeds"] == pytest.approx((0.11, 0.10, 0.09))


def test_one_cut_is_the_one_nearest_to_half_with_its_dense_networks():
    cuts = pd.DataFrame({"method": "l1-filter", "sparsity": [0.3, 0.55, 0.75], "recovery_lr": 0.1})
    dense = pd.DataFrame({"method": "dense", "sparsity": 0.0, "recovery_lr": [0.1, 0.2]})
    masks = pd.DataFrame({"method": "magnitude", "sparsity": [0.55], "recovery_lr": 0.1})
    kept = comparisons.one_cut(pd.concat([cuts, dense, masks]))
    assert kept[["method", "sparsity", "recovery_lr"]].values.tolist() == [
        ["l1-filter", 0.55, 0.1],
        ["dense", 0.0, 0.1],
    ]


def test_only_inherited_weights_are_charged_for_their_parent():
    table = comparisons.against_fine_tuning(STUDY)
    assert table.before.to_dict() == {
        "cut, rate rewound": 1,
        "cut, fine-tuned": 1,
        "cut shape, new weights (E)": 0,
        "dense": 0,
        "narrow network": 0,
    }
    assert table.own["cut shape, new weights (E)"] == pytest.approx(0.3)
    assert table.own["narrow network"] == pytest.approx(0.26)
    assert table.epochs.to_dict()["cut, rate rewound"] == 19 and table.epochs["dense"] == 20
