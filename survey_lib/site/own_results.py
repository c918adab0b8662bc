"""What this project measured of one method: a table and a drawing for each published study."""

from __future__ import annotations

from functools import cache

import matplotlib.pyplot as plt
import pandas as pd

from survey_lib.analysis.tables import BASELINES, finished, main_setting
from survey_lib.charts import plots
from survey_lib.charts.export import Drawing
from survey_lib.experiment.sweeps import store
from survey_lib.experiment.sweeps import study as studies

POINT = ["data", "model", "pattern", "method", "sparsity"]


@cache
def published() -> dict[str, pd.DataFrame]:
    """Study -> its finished published runs; scans that prune one layer alone are left out."""
    there = [name for name in studies.names() if store.published_file(name).exists()]
    frames = {name: finished(name, local=False) for name in there}
    return {name: frame[frame["layer"].isna()] for name, frame in frames.items()}


def bare(names: pd.Series) -> pd.Series:
    """Names in the catalogue of methods whose variants were named apart.

    Examples
    --------
    >>> bare(pd.Series(["magnitude (global) (one-shot)", "lamp"])).tolist()
    ['magnitude', 'lamp']
    """
    return names.str.partition(" (")[0]


def of(method: str) -> dict[str, pd.DataFrame]:
    """Study -> the published runs of a method, for the studies that have any."""
    found = {name: frame[bare(frame["method"]) == method] for name, frame in published().items()}
    return {name: rows for name, rows in found.items() if len(rows)}


def table(rows: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """Means over seeds of a method's runs; what is the same in all rows is said apart, in words."""
    groups = rows.groupby(POINT, dropna=False)
    spread = groups["accuracy"].agg(["mean", "std", "count"])
    means = (
        pd.DataFrame(
            {
                "accuracy": [
                    f"{m:.1%} ± {std:.1%}" if n > 1 else f"{m:.1%}" for m, std, n in spread.to_numpy()
                ],
                "dense": groups["dense_accuracy"].mean().map("{:.1%}".format),
                "compression": groups["compression"].mean().map("{:.2f}×".format),
                "theoretical speed-up": groups["speedup_theoretical"].mean().map("{:.2f}×".format),
                "n": spread["count"],
            },
            index=spread.index,
        )
        .reset_index()
        .rename(columns={"method": "variant"})
    )
    same = [
        name for name in ("data", "model", "pattern", "variant", "dense", "n") if means[name].nunique() == 1
    ]
    said = [f"{name} {means[name].iloc[0]}" for name in same if means[name].iloc[0] != ""]
    return ", ".join(said), means.drop(columns=same)


def drawing(study: str, method: str) -> Drawing | None:
    """Accuracy of a method against compression, with dense, random and magnitude; the others pale.

    None where a study has one sparsity only, or lacks a baseline, so that a curve would say nothing.

    Parameters
    ----------
    study : str
        Name of the study.
    method : str
        Name of the method.
    """
    frame = published()[study]
    own = frame[bare(frame["method"]) == method]
    label, _ = main_setting(own)
    frame = frame[frame["data"] + ", " + frame["model"] == label]
    own = frame[bare(frame["method"]) == method]
    try:
        plots.check_baselines(frame)
    except ValueError:
        return None
    if own["sparsity"].nunique() < 2 or method == "dense":
        return None
    figure, axes = plt.subplots(figsize=(5.6, 4.0))
    baselines = frame.loc[
        bare(frame["method"]).isin(BASELINES) & (frame["structure"] == own["structure"].iloc[0])
    ]
    data = plots.curves(frame, axes, chosen=sorted({*own["method"], *baselines["method"]}))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    text = _says(own)
    plots.headline(figure, f"{text} ({label})")
    caption = (
        f"Study {study}: test accuracy of {method} against compression on {label}, mean and standard "
        f"deviation over seeds, beside the baselines of its kind; other methods pale. {text}."
    )
    return Drawing(figure, caption, f"Line chart. {text}.", data)


def _says(own: pd.DataFrame) -> str:
    means = own.groupby(["method", "sparsity"])[["compression", "accuracy"]].mean()
    strongest = means[means.index.get_level_values("sparsity") == own["sparsity"].max()]
    best = strongest["accuracy"].idxmax()
    compression, accuracy = strongest.loc[best]
    dense = own["dense_accuracy"].mean()
    return f"{best[0]}: {accuracy:.1%} at {compression:.1f}× compression, dense {dense:.1%}"
