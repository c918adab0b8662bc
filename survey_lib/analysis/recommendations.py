"""Which method for which need: branches of a decision guide, settled by the runs of studies."""

from collections.abc import Mapping, Sequence

import pandas as pd
import yaml

from survey_lib.analysis.statistics import at_compression, gain_over_twin, holm, interval
from survey_lib.analysis.tables import distinct
from survey_lib.repository import REPOSITORY

SOURCE = REPOSITORY / "data" / "guide.yaml"
DEFAULTS = {"x": "compression", "at": None, "recover": True}  # of a need
RATIOS = {"compression": "compression", "speedup_theoretical": "fewer MACs"}
TRAINING = {True: "you can train afterwards", False: "you cannot train afterwards"}


def settle(runs: pd.DataFrame, branches: Sequence[Mapping] = ()) -> pd.DataFrame:
    """Points of accuracy each method loses in each branch, the least loss marked `best`.

    A branch is one need: the runs that may serve it (`where`, a pandas query on those of `study`), and where they are
    compared: on the axis of equal saving `x` at the value `at`, or at the strongest that all methods reach. They are
    compared after recovery, or with `recover: false` right after the cut. There a network with batch norm needs runs
    that measured its statistics again; stale ones would decide the order.

    Parameters
    ----------
    runs : pd.DataFrame
        May be those of several studies.
    branches : Sequence[Mapping], default ()
        The needs, by default those of data/guide.yaml; those without runs are left out.

    Returns
    -------
    pd.DataFrame
        need, recover, study, x, at, method, lost (mean over seeds, points against the same seed's dense
        network; after recovery that which trained as long), best, tied, n. `tied`: the paired difference to
        the best is not significant at 0.05 after Holm's correction over the rivals of the branch, or cannot
        be tested with one seed.

    Raises
    ------
    ValueError
        If that leaves no branch.
    """
    branches, there = branches or yaml.safe_load(SOURCE.read_text(encoding="utf-8")), set(runs["study"])
    settled = [_settle(runs, **DEFAULTS | branch) for branch in branches if branch["study"] in there]
    found = [table for table in settled if not table.empty]
    if not found:
        studies = ", ".join(sorted({branch["study"] for branch in branches}))
        raise ValueError(f"no runs of {studies} among those given")
    return pd.concat(found, ignore_index=True)


def _settle(
    runs: pd.DataFrame, need: str, study: str, where: str, x: str, at: float | None, recover: bool
) -> pd.DataFrame:
    runs = runs[runs["study"] == study]
    if recover:
        found = gain_over_twin(runs).eval("lost = -100 * gain")
    else:
        cut = runs["recalibrated_accuracy"].astype(float).fillna(runs["pruned_accuracy"])
        found = runs.assign(lost=100 * (runs["dense_accuracy"] - cut))
    found = distinct(found.query(where))
    at = at or at_compression(found, metric="lost", x=x).name
    seeds = {seed: at_compression(rows, at, "lost", x) for seed, rows in found.groupby("seed")}
    lost = pd.DataFrame(seeds).T.dropna(axis=1)  # (seeds, methods)
    if lost.empty:  # no run, or no method with runs on both sides of `at`
        return lost
    means = lost.mean().sort_values()
    rivals = lost[means.index[1:]].apply(lambda each: interval(each - lost[means.index[0]]).p)
    fields = {"need": need, "recover": recover, "study": study, "x": x, "at": at}
    table = pd.DataFrame(fields | {"method": means.index, "lost": means.to_numpy()})
    table["best"] = table["method"] == means.index[0]
    table["tied"] = holm(rivals).ge(0.05).reindex(means.index, fill_value=True).to_numpy()
    return table.assign(n=len(lost))


def advice(settled: pd.DataFrame) -> pd.DataFrame:
    """One row a branch: the method that loses least, how much, what ties with it, and the study behind it."""
    keys = ["recover", "need"]
    table = settled[settled["best"]].set_index(keys).rename(columns={"method": "take"})
    rivals = settled[settled["tied"] & ~settled["best"]].groupby(keys)["method"]
    table["ties with"] = rivals.agg(", ".join).reindex(table.index, fill_value="-")
    table["of"] = settled.groupby(keys).size() - 1
    table["at"] = table["at"].map("{:.1f}× ".format) + table["x"].map(RATIOS)
    table["points lost"] = table["lost"].round(1)
    table = table.reset_index()
    table["training after"] = table["recover"].map({True: "can", False: "cannot"})
    columns = ["training after", "need", "take", "at", "points lost", "ties with", "of", "n", "study"]
    return table[columns]
