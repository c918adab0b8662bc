"""The figure of networks that are sparse while they train: how much they get wrong, and who lets its mask move."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

from survey_lib.charts.export import Drawing
from survey_lib.charts.looks import DENSE, PALETTE
from survey_lib.charts.plots import note_n

LINES = {
    "random, fixed": "method == 'random' and recovery == 'scratch-e'",
    "set": "method == 'set' and recovery == 'none'",
    "rigl": "method == 'rigl' and recovery == 'none'",
    "gradual": "method == 'gradual' and recovery == 'none'",
    "layerwise magnitude after": "method == 'magnitude' and scope == 'layerwise'",
    "global magnitude after": "method == 'magnitude' and scope == 'global'",
}


def lines_of(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The runs of each row of the figure."""
    pruned = frame.query("sparsity > 0 and inputs == 'normalised'")
    return {name: pruned.query(where) for name, where in LINES.items()}


def moving(frame: pd.DataFrame) -> Drawing:
    """Test error of masks that never move, that move, and that thin a dense network: the figure of notebook 06."""
    rows = pd.concat(lines_of(frame), names=["line"]).reset_index("line").eval("error = 1 - accuracy")
    rows["kept"] = [f"{1 - sparsity:.0%} of the weights" for sparsity in rows["sparsity"]]
    table = rows.groupby(["line", "sparsity", "kept"])["error"].agg(["mean", "std", "count"]).reset_index()
    last = table[table["sparsity"] == table["sparsity"].max()].set_index("line")["mean"].sort_values()
    figure, axes = plt.subplots(figsize=(6, 4.2))
    shown = rows.assign(error=100 * rows["error"])
    look = {"hue": "kept", "palette": PALETTE[: table["kept"].nunique()], "dodge": 0.3, "linestyle": "none"}
    sns.pointplot(shown, x="error", y="line", order=last.index[::-1], errorbar="sd", capsize=0.15, **look)
    dense = 100 - 100 * rows["dense_accuracy"].mean()
    axes.axvline(dense, color=DENSE, linestyle="--", label="dense network")
    axes.set(xlabel="test error, %", ylabel="", xlim=(dense - 0.5, None))
    axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1), ncols=2)
    note_n(axes, table["count"])
    named = {"random, fixed": "a fixed mask", "rigl": "RigL", "set": "SET"}
    errors = ", ".join(f"{name} {last[line]:.1%}" for line, name in named.items())
    return Drawing(figure, f"Wrong with {1 - table['sparsity'].max():.0%} of the weights: {errors}", table)
