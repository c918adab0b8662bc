"""What papers report: the catalogue of papers, their published numbers, an audit of them, and BibTeX."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pandas as pd
import yaml

from survey_lib.lookup import known
from survey_lib.repository import LITERATURE as FOLDER

PRINTED = re.compile(r"prints ([+-]?\d+\.\d+)[^;]*; arithmetic gives")
YEAR = re.compile(r"\b(19|20)\d\d\b")  # proceedings are named with their year, journals with a volume
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
    chosen = table[networks == wanted]
    removed = chosen["params_reduction_pct"].fillna(chosen["sparsity_pct"]) / 100
    return pd.DataFrame(
        {
            "paper": chosen["paper_key"],
            "method": chosen["method"],
            "reported_by": chosen["reported_by"],
            "compression": 1 / (1 - removed),
            "speedup_theoretical": 1 / (1 - chosen["flops_reduction_pct"] / 100),
            "accuracy": chosen["pruned_metric"] / 100,
            "dense_accuracy": chosen["baseline_metric"] / 100,
            "delta": chosen["delta"] / 100,
        }
    ).reset_index(drop=True)


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
