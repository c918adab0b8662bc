"""The literature data on the site: tables of papers and published numbers, and a card's part on its paper."""

import pandas as pd
from markupsafe import Markup

from survey_lib.analysis import literature
from survey_lib.analysis.replication import measured_again
from survey_lib.catalogue import METHODS
from survey_lib.site.webtable import fence, html_table, link, plain, raw

CLASSES = ["granularity", "structure", "when", "criterion", "scope"]
PLACES = {"arxiv_id": "https://arxiv.org/abs/", "doi": "https://doi.org/", "code_url": "https://github.com/"}
NUMBERS = {
    "method": "as named there",
    "measured by": "measured by",
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


def cite(key: str, up: str = "../") -> str:
    """A key of the literature data as author and year, a link to the references page; any other text as it is.

    Parameters
    ----------
    key : str
        Key of a paper.
    up : str, default '../'
        Path to the root of the site.

    Examples
    --------
    >>> print(cite("relu1"), cite("he2019filter", up=""))
    relu1 <a href="references.html#ref-he2019filter">He et al. 2019</a>
    """
    papers = literature.papers()
    if key not in papers.index:
        return key
    return link(f"{who(papers.loc[key])} {papers['year'][key]}", f"{up}references.html#ref-{key}")


def who(row: pd.Series) -> str:
    """The authors of a paper as one cites them: one or two last names, or the first with `et al.` behind it."""
    names = [name.split()[-1] for name in row["authors"].split("; ")]
    return " and ".join(names) if len(names) < 3 else f"{names[0]} et al."


def _places(row: pd.Series, up: str = "../") -> Markup:
    """Where the paper, its code and its full entry are: only what the literature data holds."""
    there = {name: start for name, start in PLACES.items() if pd.notna(row[name])}
    links = [link(name.partition("_")[0], start + row[name]) for name, start in there.items()]
    return Markup(" · ").join([*links, cite(row.name, up)])


def title(key: str) -> str:
    """Title, authors and year of a paper, which the search finds a card by."""
    row = literature.papers().loc[key]
    return f"{plain(row['title'])} ({plain(who(row))}, {row['year']})"


def paper(key: str) -> str:
    """Where a paper is, and its BibTeX, for a method's card."""
    where = raw(f"<p>{_places(literature.papers().loc[key])}</p>")
    return f"{where}\n{fence('bibtex', literature.bibtex(key).rstrip())}"


def reported(key: str) -> str:
    """Published numbers of a paper's methods, its authors' own first, for a method's card."""
    rows = literature.published().query("paper_key == @key")
    rows = rows.sort_values("own", ascending=False, kind="stable")
    if rows.empty:
        return "No numbers of this paper are in the literature data.\n"
    more = link(f"All {len(rows)} as their sources print them", f"../published.html?words={key}")
    says = f"{rows['own'].sum()} of them are by its own authors."
    return f"{raw(f'<p>{more}; {says}</p>')}\n{html_table(_numbers(rows.head(SHOWN)))}"


def _numbers(rows: pd.DataFrame, up: str = "../") -> pd.DataFrame:
    by = rows["reported_by"].map(lambda key: cite(key, up)).mask(rows["own"], "its authors")
    shown = rows.assign(**{"measured by": by})[list(NUMBERS)].rename(columns=NUMBERS)
    again = measured_again(rows)
    return shown.assign(**{"measured here": again}) if any(again) else shown


def papers_table() -> str:
    """All papers of the literature data on the survey's axes, with filters."""
    table = literature.papers().sort_values(["year", "first_author"])
    entry = Markup("<em>{}</em>. {}, {}. {}")
    papers = [entry.format(row.title, who(row), row.venue, _places(row, "")) for _, row in table.iterrows()]
    shown = (
        table[["year", "kind", *CLASSES]].astype({"year": str}).assign(**{"what it does": table["one_line"]})
    )
    shown.insert(0, "paper", papers)
    shown.insert(1, "card", [_cards(key) for key in table.index])
    return html_table(shown, searched=True)


def _cards(key: str) -> Markup:
    names = [row.name for row in METHODS.values() if row.paper == key]
    return Markup(" ").join(link(name, f"methods/{name}.html") for name in names)


def numbers_table() -> str:
    """All published numbers that were read in a named source, with filters."""
    rows = literature.published()
    shown = _numbers(rows, up="").assign(source=rows["source"], notes=rows["notes"])
    shown.insert(0, "paper", [cite(key, up="") for key in rows["paper_key"]])
    return html_table(shown, searched=True)
