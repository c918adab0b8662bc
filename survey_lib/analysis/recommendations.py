"""Which method for which need: branches of a decision guide, settled by the runs of studies."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import yaml

from survey_lib.analysis.equal_compression import gain_over_twin
from survey_lib.analysis.statistics import at_compression, holm, interval
from survey_lib.analysis.tables import distinct
from survey_lib.repository import REPOSITORY

SOURCE = REPOSITORY / "data" / "guide.yaml"
RATIOS = {"compression": "compression", "speedup_theoretical": "fewer MACs"}
TRAINING = {True: "you can train afterwards", False: "you cannot train afterwards"}


@dataclass(frozen=True)
class Branch:
    """One need: the runs that may serve it, and where on which axis they are compared.

    Attributes
    ----------
    where : str
        Pandas query on the tidy table.
    x, at
        The axis of equal saving and the value on it; the strongest that all methods reach if left out.
    recover : bool
        Compare after recovery, or right after the cut. A network with batch norm needs runs that measured its
        statistics again; stale ones would decide the order.
    """

    need: str
    study: str
    where: str
    x: str = "compression"
    at: float | None = None
    recover: bool = True


def needs() -> list[Branch]:
    """The branches of data/guide.yaml."""
    return [Branch(**fields) for fields in yaml.safe_load(SOURCE.read_text(encoding="utf-8"))]


def settle(runs: pd.DataFrame, branches: Sequence[Branch] = ()) -> pd.DataFrame:
    """Points of accuracy each method loses in each branch, the least loss marked `best`.

    Parameters
    ----------
    runs : pd.DataFrame
        May be those of several studies.
    branches : Sequence[Branch], default ()
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
    branches, there = branches or needs(), set(runs["study"])
    settled = [_settle(runs[runs["study"] == one.study], one) for one in branches if one.study in there]
    found = [table for table in settled if not table.empty]
    if not found:
        raise ValueError(f"no runs of {', '.join(sorted({one.study for one in branches}))} among those given")
    return pd.concat(found, ignore_index=True)


def _settle(runs: pd.DataFrame, branch: Branch) -> pd.DataFrame:
    if branch.recover:
        found = gain_over_twin(runs).eval("lost = -100 * gain")
    else:
        cut = runs["recalibrated_accuracy"].astype(float).fillna(runs["pruned_accuracy"])
        found = runs.assign(lost=100 * (runs["dense_accuracy"] - cut))
    found = distinct(found.query(branch.where))
    at = branch.at or at_compression(found, metric="lost", x=branch.x).name
    seeds = {seed: at_compression(rows, at, "lost", branch.x) for seed, rows in found.groupby("seed")}
    lost = pd.DataFrame(seeds).T.dropna(axis=1)  # (seeds, methods)
    if lost.empty:  # no run, or no method with runs on both sides of `at`
        return lost
    means = lost.mean().sort_values()
    rivals = lost[means.index[1:]].apply(lambda each: interval(each - lost[means.index[0]]).p)
    fields = {"need": branch.need, "recover": branch.recover, "study": branch.study, "x": branch.x, "at": at}
    return pd.DataFrame(
        fields
        | {
            "method": means.index,
            "lost": means.to_numpy(),
            "best": means.index == means.index[0],
            "tied": holm(rivals).ge(0.05).reindex(means.index, fill_value=True).to_numpy(),
            "n": len(lost),
        }
    )


def advice(settled: pd.DataFrame) -> pd.DataFrame:
    """One row a branch: the method that loses least, how much, what ties with it, and the study behind it."""
    rows = []
    for (recover, need), table in settled.groupby(["recover", "need"], sort=False):
        first = table[table["best"]].iloc[0]
        others = table.loc[table["tied"] & ~table["best"], "method"]
        rows.append(
            {
                "training after": TRAINING[recover].split()[1],
                "need": need,
                "take": first["method"],
                "at": f"{first['at']:.1f}× {RATIOS[first['x']]}",
                "points lost": round(first["lost"], 1),
                "ties with": ", ".join(others) or "-",
                "of": len(table) - 1,
                "n": first["n"],
                "study": first["study"],
            }
        )
    return pd.DataFrame(rows)
