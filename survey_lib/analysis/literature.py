"""What papers report: papers, their published numbers, an audit of them, which came out again, and BibTeX."""

import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from scipy.special import stdtrit  # scipy.stats takes half a second to import

from survey_lib.lookup import known
from survey_lib.repository import LITERATURE as FOLDER

PRINTED = re.compile(r"prints ([+-]?\d+\.\d+)[^;]*; arithmetic gives")
YEAR = re.compile(r"\b(19|20)\d\d\b")  # proceedings are named with their year, journals with a volume
MARGIN = 0.5  # points: a number that comes out within it counts as replicated
AUTHORS = ("author-readme", "author-paper-table", "author-data-file")


def papers() -> pd.DataFrame:
    """One row a paper, by key. DOIs that were only recalled, not resolved, are left out."""
    return _papers(FOLDER / "papers.csv").copy()


@cache
def _papers(path: Path) -> pd.DataFrame:
    table = pd.read_csv(path, index_col="key", dtype={"arxiv_id": str, "year": int})
    recalled = table["checked"].str.contains("doi from recall", regex=False)
    table.loc[recalled, "doi"] = pd.NA
    return table


def published() -> pd.DataFrame:
    """Published numbers that were read in a named source: one row a (method, data set, model, setting).

    Added columns: `delta` = pruned − baseline, in points; `printed_delta` where the source prints another
    value; `own` = the paper's own authors measured it.
    """
    table = pd.read_csv(FOLDER / "published_results.csv")
    table = table[table["verified"] == "yes"].reset_index(drop=True)
    table["delta"] = (table["pruned_metric"] - table["baseline_metric"]).round(3)
    table["printed_delta"] = table["notes"].str.extract(PRINTED, expand=False).astype(float)
    table["own"] = table["source_kind"].isin(AUTHORS) & (table["reported_by"] == table["paper_key"])
    return table


def described() -> pd.DataFrame:
    """Methods that have no row in the catalogue, by paper: name, year, what they do, and why they do not run here."""
    reasons = yaml.safe_load((FOLDER / "described.yaml").read_text(encoding="utf-8"))
    table = papers().loc[list(reasons), ["method_name", "year", "granularity", "when", "one_line"]]
    return table.assign(reason=reasons.values()).sort_values(["year", "method_name"])


def tools() -> pd.DataFrame:
    """One row a tool: year, month (missing where only the year is known), state, what, source; oldest first."""
    table = pd.read_csv(FOLDER / "tools.csv", dtype={"month": "Int64"})
    return table.sort_values(["year", "month"], na_position="first", ignore_index=True)


def audit() -> pd.DataFrame:
    """Rows whose printed change does not equal pruned − baseline of the same row."""
    table = published()
    gap = (table["printed_delta"] - table["delta"]).abs()  # missing where no change is printed
    return table[gap > 0.005].reset_index(drop=True)


def baselines() -> pd.DataFrame:
    """How far dense accuracies of the same network on the same data differ between sources.

    Returns
    -------
    pd.DataFrame
        One row a (dataset, model) with three different baselines or more: lowest, highest, spread, count.
    """
    table = published().query("metric == 'top1 %'").dropna(subset="baseline_metric")
    groups = table.drop_duplicates(["dataset", "model", "baseline_metric"]).groupby(["dataset", "model"])
    found = groups["baseline_metric"].agg(lowest="min", highest="max", count="size").query("count >= 3")
    found.insert(2, "spread", (found["highest"] - found["lowest"]).round(3))
    return found.sort_values("spread", ascending=False).reset_index()


def overlay(dataset: str, model: str) -> pd.DataFrame:
    """What the authors of methods claim on one network.

    Parameters
    ----------
    dataset : str
        As in the literature data.
    model : str
        As in the literature data.

    Returns
    -------
    pd.DataFrame
        Method, compression, theoretical speed-up, accuracy, delta; fractions, not percent.

    Raises
    ------
    ValueError
        For a pair without points; the text lists near matches.
    """
    table = published().query("metric == 'top1 %' and own")
    networks = table["dataset"] + " " + table["model"]
    wanted = known("network with published points", f"{dataset} {model}", sorted(set(networks)))
    chosen = table[networks == wanted].reset_index(drop=True)
    removed = chosen["params_reduction_pct"].fillna(chosen["sparsity_pct"]) / 100
    shares = chosen[["pruned_metric", "baseline_metric", "delta"]] / 100
    found = chosen[["paper_key", "method", "reported_by"]].rename(columns={"paper_key": "paper"})
    found["compression"] = 1 / (1 - removed)
    found["speedup_theoretical"] = 1 / (1 - chosen["flops_reduction_pct"] / 100)
    return found.join(shares.set_axis(["accuracy", "dense_accuracy", "delta"], axis=1))


def compare(
    ours: Sequence[float], published: float, std: float = math.nan, n: float = math.nan, rounding: float = 0
) -> dict[str, float | str]:
    """Whether a published number came out again: gap, low, high and verdict.

    The interval of the difference is gap ± (t · √(s₁²/n₁ + s₂²/n₂) + rounding), with gap = mean of ours −
    published and Welch's degrees of freedom. A paper without std or n counts as exact up to `rounding`: the
    interval then covers our seeds alone and is too narrow, as the paper's seeds scatter too. Both sides are
    in points. Verdict: replicated if the interval is within ±0.5 points, not replicated if it is outside,
    undecided otherwise.

    Parameters
    ----------
    ours : Sequence[float]
        Our runs.
    published : float
        The paper's mean.
    std : float, default math.nan
        The paper's standard deviation.
    n : float, default math.nan
        The paper's number of runs.
    rounding : float, default 0
        Half a unit of the paper's last digit.

    Raises
    ------
    ValueError
        For a single run.

    Examples
    --------
    >>> compare([1.8, 2.0, 2.2], 1.9, 0.1, 20)["verdict"]
    'undecided'
    """
    if len(ours) < 2:
        raise ValueError(f"an interval needs two runs or more; got {len(ours)}")
    samples = [(np.std(ours, ddof=1), len(ours)), (std, n)]
    parts = [(s**2 / m, m - 1) for s, m in samples if s > 0 and m > 1]
    variance = sum(part for part, _ in parts)
    degrees = variance**2 / sum(part**2 / freedom for part, freedom in parts) if parts else 1
    margin = float(stdtrit(degrees, 0.975)) * math.sqrt(variance) + rounding
    gap = float(np.mean(ours) - published)
    low, high = gap - margin, gap + margin
    return {"gap": gap, "low": low, "high": high, "verdict": _verdict(low, high)}


def _verdict(low: float, high: float) -> str:
    if -MARGIN <= low and high <= MARGIN:
        return "replicated"
    return "not replicated" if low > MARGIN or high < -MARGIN else "undecided"


def replications(runs: pd.DataFrame | None = None) -> pd.DataFrame:
    """One row a target of data/literature/replicated.yaml that has runs, by its id; errors in percent, gaps in points.

    published, std, published_n   test error as printed (100 − accuracy where the paper has that), spread,
    runs epoch, last, best             which epoch is compared, and our mean error at the last and at the best
    epoch ours, ours_std, n             mean, standard deviation and seeds at the epoch that is compared gap,
    low, high, verdict       see `compare`

    runs: finished runs of the study, by default the published ones.

    Raises
    ------
    ValueError
        Where a target has two runs of a seed.
    """
    from survey_lib.analysis.tables import finished  # torch takes seconds to import, and papers need none

    runs = finished("replication", local=False) if runs is None else runs
    table = pd.read_csv(FOLDER / "replication_targets.csv", index_col="id", dtype={"value": str})
    found = {}
    for name, entry in yaml.safe_load((FOLDER / "replicated.yaml").read_text(encoding="utf-8")).items():
        mine = runs[(runs[list(entry["runs"])] == pd.Series(entry["runs"])).all(axis=1)]
        if mine["seed"].duplicated().any():
            raise ValueError(f"{name} in replicated.yaml must leave one run a seed; leaves {len(mine)}")
        if len(mine) > 1:
            found[name] = _row(table.loc[name], entry, mine)
    return pd.DataFrame.from_dict(found, orient="index")


def _row(target: pd.Series, entry: dict, runs: pd.DataFrame) -> dict:
    value, decimals = float(target["value"]), len(target["value"].partition(".")[2])
    n = pd.to_numeric(target["n"], errors="coerce")
    published = round(100 - value, decimals) if "accuracy" in target["value_kind"] else value
    errors = {"last": 100 * (1 - runs["accuracy"]), "best": 100 * (1 - runs["best_test_accuracy"])}
    ours, paper = errors[entry["epoch"]], papers().loc[target["paper_key"]]
    return {
        "source": f"{paper['first_author'].split()[-1]} {paper['year']}",
        "label": entry["label"],
        "network": target["network"].partition(" ")[0].removesuffix("-Caffe"),
        "published": published,
        "std": target["std"],
        "published_n": n,
        "epoch": entry["epoch"],
        "last": errors["last"].mean(),
        "best": errors["best"].mean(),
        "ours": ours.mean(),
        "ours_std": ours.std(),
        "n": len(ours),
        **compare(ours.tolist(), published, target["std"], n, 0.5 * 10.0**-decimals),
        "paper_key": target["paper_key"],
    }


def bibtex(key: str) -> str:
    """BibTeX of one paper; ValueError with near matches for an unknown key."""
    table = papers()
    row = table.loc[known("paper", key, table.index)]
    kind, place = _kind(row["venue"])
    fields = {
        "title": "{" + row["title"] + "}",
        "author": row["authors"].replace("; ", " and "),
        "year": row["year"],
        place: row["venue"],
        "eprint": row["arxiv_id"],
        "archiveprefix": "arXiv" if pd.notna(row["arxiv_id"]) else "",
        "doi": row["doi"],
    }
    return entry(kind, key, fields) + "\n"


def entry(kind: str, key: str, fields: Mapping[str, object]) -> str:
    """An entry of BibTeX; fields without a value are left out.

    Parameters
    ----------
    kind : str
        article, misc, software, ...
    key : str
        What it is cited by.
    fields : Mapping[str, object]
        Name -> value.

    Examples
    --------
    >>> print(entry("misc", "a2020b", {"year": 2020, "doi": ""}))
    @misc{a2020b,
      year = {2020},
    }
    """
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if pd.notna(value) and value != ""]
    return "\n".join([f"@{kind}{{{key},", *lines, "}"])


def _kind(venue: str) -> tuple[str, str]:
    """BibTeX entry type, and the field that names the venue."""
    if venue.startswith("arXiv"):
        return "misc", "howpublished"
    return ("inproceedings", "booktitle") if YEAR.search(venue) else ("article", "journal")


def bibliography() -> str:
    """All papers as BibTeX, sorted by key: the text of data/literature/references.bib."""
    return "\n".join(bibtex(key) for key in sorted(papers().index))


def write_bibliography() -> Path:
    """Write references.bib again; it is generated, never edited."""
    path = FOLDER / "references.bib"
    path.write_text(bibliography(), encoding="utf-8")
    return path
