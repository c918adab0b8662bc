"""The literature data on the site: papers with filters, published numbers, and a card's part on its paper."""

import pandas as pd

from survey_lib.analysis import literature
from survey_lib.analysis.replication import measured_again
from survey_lib.catalogue import METHODS
from survey_lib.site.webtable import WIDE, Html, escape, fence, html_table, link, plain, raw

CLASSES = ["granularity", "structure", "when", "criterion", "scope"]
NUMBERS = {
    "method": "as named there",
    "dataset": "data",
    "model": "model",
    "metric": "metric",
    "baseline_metric": "dense",
    "pruned_metric": "pruned",
    "delta": "difference",
    "params_reduction_pct": "parameters removed, %",
    "flops_reduction_pct": "MACs removed, %",
    "sparsity_pct": "sparsity, %",
}
SHOWN = 12  # rows on a method's card


def cite(key: str, up: str = "../") -> Html:
    """A key of the literature data as author and year, a link to the references page.

    Any other text is escaped.

    Parameters
    ----------
    key : str
        Key of a paper.
    up : str, default '../'
        Path to the root of the site.

    Examples
    --------
    >>> cite("relu1"), cite("he2019filter", up="")
    ('relu1', '<a href="references.html#ref-he2019filter">He et al. 2019</a>')
    """
    papers = literature.papers()
    if key not in papers.index:
        return Html(escape(key))
    return link(f"{who(papers.loc[key])} {papers['year'][key]}", f"{up}references.html#ref-{key}")


def who(row: pd.Series) -> str:
    """The authors of a paper as one cites them: one or two last names, or the first with `et al.` behind it."""
    names = [name.split()[-1] for name in row["authors"].split("; ")]
    return " and ".join(names) if len(names) < 3 else f"{names[0]} et al."


def _places(row: pd.Series) -> Html:
    """Where the paper and its code are: only what the literature data holds."""
    starts = {
        "arxiv_id": "https://arxiv.org/abs/",
        "doi": "https://doi.org/",
        "code_url": "https://github.com/",
    }
    known = {name: str(row[name]) for name in starts if pd.notna(row[name])}
    links = [
        link(name.partition("_")[0], place if "://" in place else starts[name] + place)
        for name, place in known.items()
    ]
    return Html(" · ".join(links))


def title(key: str) -> str:
    """Title, authors and year of a paper, which the search finds a card by."""
    if not key:
        return ""
    row = literature.papers().loc[key]
    return f"{plain(row['title'])} ({plain(who(row))}, {row['year']})"


def paper(key: str) -> str:
    """Where a paper is, and its BibTeX, for a method's card."""
    if not key:
        return ""
    where = " · ".join(filter(None, [_places(literature.papers().loc[key]), cite(key)]))
    return raw(f"<p>{where}</p>") + "\n" + fence("bibtex", literature.bibtex(key).rstrip())


def reported(key: str) -> str:
    """Published numbers of a paper's methods, its authors' own first, for a method's card."""
    rows = literature.published().query("paper_key == @key")
    rows = rows.sort_values("own", ascending=False, kind="stable")
    if rows.empty:
        return "No numbers of this paper are in the literature data.\n" if key else ""
    says = (
        f"{len(rows)} published numbers of this paper's methods, {rows['own'].sum()} by its own authors; "
        "as they print them."
    )
    more = link(f"All {len(rows)}, with their sources", f"../published.html?words={key}")
    return raw(f"<p>{says} {more}.</p>\n{html_table(_numbers(rows.head(SHOWN), '../'))}")


def _numbers(rows: pd.DataFrame, up: str) -> pd.DataFrame:
    shown = rows[list(NUMBERS)].rename(columns=NUMBERS)
    shown.insert(
        1, "measured by", rows["reported_by"].map(lambda key: cite(key, up)).mask(rows["own"], "its authors")
    )
    again = measured_again(rows)
    return shown.assign(**{"measured here": again}) if any(again) else shown


def _entry(row: pd.Series) -> Html:
    where = " · ".join(filter(None, [_places(row), cite(row.name, up="")]))
    return Html(f"<em>{escape(row['title'])}</em>. {escape(who(row))}, {escape(row['venue'])}. {where}")


def _cards(key: str) -> Html:
    names = [row.name for row in METHODS.values() if row.paper == key]
    return Html(" ".join(link(name, f"methods/{name}.html") for name in names))


def papers_page() -> str:
    """All papers of the literature data on the survey's axes, with filters."""
    table = literature.papers().sort_values(["year", "first_author"])
    shown = table[["year", "kind", *CLASSES]].astype({"year": str})
    shown.insert(0, "paper", [_entry(row) for _, row in table.iterrows()])
    shown.insert(1, "card", [_cards(key) for key in table.index])
    shown["what it does"] = table["one_line"]
    text = (
        f"{WIDE}# Literature\n\n{len(table)} papers on the survey's axes. The choice, the classes and the "
        "one-line descriptions are ours; a blank means unknown. [Published numbers](published.md) has what "
        "they report, [References](references.md) the full entries.\n\n"
    )
    return text + raw(html_table(shown, searched=True))


def numbers_page() -> str:
    """All published numbers that were read in a named source, with filters."""
    rows = literature.published()
    shown = _numbers(rows, up="").assign(source=rows["source"], notes=rows["notes"])
    shown.insert(0, "paper", [cite(key, up="") for key in rows["paper_key"]])
    text = (
        f"{WIDE}# Published numbers\n\n{len(rows)} numbers that papers, repositories and benchmarks report, "
        "each read in the source named beside it. **They are not ours**, and baselines, recipes and counts differ "
        "between sources: the notebook on the literature says how far they can be compared. `difference` is "
        "pruned minus dense; `measured here` is what we found for the few that we measured again, in the notebook "
        "on replication.\n\n"
    )
    return text + raw(html_table(shown, searched=True))
