"""Which method for which need: branches of a decision guide, settled by the runs of studies."""

from dataclasses import dataclass

import pandas as pd

from survey_lib.analysis.equal_compression import gain_over_twin
from survey_lib.analysis.statistics import at_compression, holm, interval
from survey_lib.analysis.tables import distinct

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


AFTER = "`when` in ['after', 'any']"
BRANCHES = (
    Branch("fewer parameters, zeros anywhere", "comparison", "method != 'dense'", at=4),
    Branch("as above, sparse from the first step", "comparison", "`when` == 'before'", at=4),
    Branch("a pattern that sparse tensor cores read (2:4)", "comparison", "pattern == '2:4'"),
    Branch(
        "fewer MACs, cut out (time is another measurement)",
        "comparison",
        "structure == 'structured'",
        "speedup_theoretical",
        3,
    ),
    Branch("fewer parameters, zeros anywhere", "comparison-eurosat32", AFTER, at=4, recover=False),
    Branch(
        "a small fully connected network, with data",
        "saliency",
        f"{AFTER} and recovery == 'none' and evidence == 250",
        at=8,
        recover=False,
    ),
    Branch(
        "a language model, zeros anywhere", "language", "structure == 'unstructured'", at=1.5, recover=False
    ),
    Branch(
        "a language model, cut out: fewer MACs",
        "language",
        "structure == 'structured'",
        "speedup_theoretical",
        recover=False,
    ),
)


def settle(runs: pd.DataFrame, branches: tuple[Branch, ...] = BRANCHES) -> pd.DataFrame:
    """Points of accuracy each method loses in each branch, the least loss marked `best`.

    Parameters
    ----------
    runs : pd.DataFrame
        May be those of several studies.
    branches : tuple[Branch, ...], default BRANCHES
        The needs; those without runs are left out.

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
    there = [one for one in branches if one.study in set(runs["study"])]
    settled = [_settle(_lost(runs[runs["study"] == one.study], one), one) for one in there]
    found = [table for table in settled if not table.empty]
    if not found:
        raise ValueError(f"no runs of {', '.join(sorted({one.study for one in branches}))} among those given")
    return pd.concat(found, ignore_index=True)


def _lost(runs: pd.DataFrame, branch: Branch) -> pd.DataFrame:
    """The runs of a branch, with what each has `lost`."""
    if branch.recover:
        lost = gain_over_twin(runs).eval("lost = -100 * gain")
    else:
        cut = runs["recalibrated_accuracy"].astype(float).fillna(runs["pruned_accuracy"])
        lost = runs.assign(lost=100 * (runs["dense_accuracy"] - cut))
    return distinct(lost.query(branch.where))


def _settle(runs: pd.DataFrame, branch: Branch) -> pd.DataFrame:
    if runs.empty:
        return pd.DataFrame()
    at = branch.at or at_compression(runs, metric="lost", x=branch.x).name
    seeds = {seed: at_compression(rows, at, "lost", branch.x) for seed, rows in runs.groupby("seed")}
    lost = pd.DataFrame(seeds).T.dropna(axis=1)  # (seeds, methods)
    if lost.empty:  # no method was run on both sides of `at`
        return pd.DataFrame()
    means = lost.mean().sort_values()
    rivals = lost[means.index[1:]].apply(lambda each: interval(each - lost[means.index[0]]).p)
    return pd.DataFrame(
        {
            "need": branch.need,
            "recover": branch.recover,
            "study": branch.study,
            "x": branch.x,
            "at": at,
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
