"""The figure of notebook 16: one cut and its controls, with what each of them cost and where it ends."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from survey_lib.analysis.equal_compression import compare, contrast, gaps
from survey_lib.charts import plots
from survey_lib.charts.export import Drawing
from survey_lib.charts.intervals import intervals, names

REFERENCE = "cut, fine-tuned"
INHERITED = ("cut", "random cut", "dense")  # these start from the trained dense network
CONTROLS = {
    "cut, rate rewound": "method == 'l1-filter' and recovery == 'lr-rewind'",
    "cut shape, new weights (B)": "method == 'l1-filter' and recovery == 'scratch-b'",
    "dense, rate rewound": "method == 'dense' and recovery == 'lr-rewind'",
    "dense, trained longer": "method == 'dense' and recovery == 'finetune' and model == 'resnet-8'",
    "dense": "method == 'dense' and recovery == 'none' and model == 'resnet-8'",
    REFERENCE: "method == 'l1-filter' and recovery == 'finetune'",
    "cut shape, new weights (E)": "method == 'l1-filter' and recovery == 'scratch-e'",
    "random cut, fine-tuned": "method == 'random-filter' and recovery == 'finetune'",
    "narrow network": "model == 'resnet-8-narrow' and recovery == 'none'",
}


def one_cut(frame: pd.DataFrame) -> pd.DataFrame:
    """The dense networks and the cuts nearest to half of the filters, at the rate that most runs recover with."""
    runs = frame[frame["recovery_lr"] == frame["recovery_lr"].mode()[0]]
    cuts = runs["method"].isin(["l1-filter", "random-filter"])
    half = min(runs.loc[cuts, "sparsity"], key=lambda share: abs(share - 0.5))
    return runs[(runs["method"] == "dense") | cuts & (runs["sparsity"] == half)]


def against_fine_tuning(runs: pd.DataFrame) -> pd.DataFrame:
    """Each control minus the fine-tuned network, paired by seed, best first, and what it cost.

    `runs`: one data set, one cut, one learning rate of recovery. Columns: mean, low, high, p, n, seeds,
    accuracy, `before` (the dense network's training that it builds on) and `own` (its own training), both as
    shares of the dense network's training MACs, and epochs of the latter. Nothing is corrected here.
    """
    sides = {name: runs.query(where) for name, where in CONTROLS.items()}
    sides = {name: side for name, side in sides.items() if len(side)}
    one = sides["dense"]["training_macs"].mean()
    rows = {}
    for name, side in sides.items():
        weighted, after = contrast(side, sides[REFERENCE]), side["recovery_macs"] > 0
        own = side["recovery_macs"].where(after, side["training_macs"]).mean() / one
        rows[name] = vars(compare(weighted)) | {
            "seeds": tuple(gaps(weighted)),
            "accuracy": side["accuracy"].mean(),
            "before": float(name.split(",")[0] in INHERITED and after.all()),
            "own": own,
            "epochs": (side["trained_epochs"] - side["epochs"].where(after, 0)).mean(),
        }
    return pd.DataFrame(rows).T.infer_objects().sort_values("accuracy", ascending=False)


def equal_budgets(frame: pd.DataFrame) -> Drawing:
    """What each control costs to train, and its difference from the fine-tuned network: a figure of notebook 16."""
    runs = one_cut(frame.assign(method=frame["method"].str.split(" ").str[0]))
    table = against_fine_tuning(runs)
    figure, (left, right) = plt.subplots(2, 1, figsize=(5.6, 6))
    rows = np.arange(len(table))[::-1]
    left.barh(rows, table["before"], color=plots.PALE, label="training of the dense parent")
    left.barh(rows, table["own"], left=table["before"], color=plots.PALETTE[0], label="its own training")
    left.set(xlabel="training MACs (dense = 1)")
    left.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
    others = table.index != REFERENCE
    intervals(table[others], right, rows[others])
    right.text(0, rows[~others][0], " reference", fontsize=8, va="center", color=plots.DENSE)
    labels = [f"{row.Index}, {row.epochs:.0f} epochs: {row.accuracy:.1%}" for row in table.itertuples()]
    names(table, labels, left)
    names(table, table.index, right)
    right.set_xlabel("points above the fine-tuned cut")
    plots.note_n(right, table["n"])
    back, cost = (100 * table["mean"][name] for name in ("cut, rate rewound", "dense"))
    says = f"A long recovery brings back {back:.1f} of the {cost:.1f} points that a short one leaves lost"
    return Drawing(figure, says, table.reset_index(names="control"), {"sparsity": runs["sparsity"].max()})
