"""The generated pages: a card for each method, and the tables of methods, papers and published numbers."""

import inspect
import re
import textwrap
from dataclasses import replace
from functools import cache

import pandas as pd
import yaml
from markupsafe import Markup

from survey_lib.analysis import literature
from survey_lib.analysis.tables import distinct, finished, results_table
from survey_lib.catalogue import METHODS, Method, cost
from survey_lib.experiment.data.sources import REPOSITORY
from survey_lib.experiment.sweeps import store
from survey_lib.experiment.sweeps import study as studies
from survey_lib.site.web import fence, html_table, link, plain, raw

PARTS = {
    "score": "Score",
    "repair": "Repair",
    "solve": "Choice and repair",
    "allocate": "Layer sparsities",
    "search": "Search",
    "permute": "Order of the channels",
    "during": "Rule while training",
}
FACTS = ["category", "unit", "structure", "when", "scope", "schedule"]
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


def formulas() -> dict[str, str]:
    """Method -> its formula in LaTeX, from docs/formulas.yaml; a method without one has its docstring's."""
    return yaml.safe_load((REPOSITORY / "docs" / "formulas.yaml").read_text(encoding="utf-8"))


def card(method: Method) -> str:
    """The page of a method in MyST Markdown."""
    facts = {name: getattr(method, name) for name in FACTS}
    facts |= {"looks at": ", ".join(method.needs) or "weights only", "cost": cost(method)}
    sections = {
        "Formula": _formula(method),
        "What it does, where it fails, and its code": _code(method),
        "Run it": fence("python", _run(method)),
    }
    if method.paper:
        sections[f"Paper: {title(method.paper)}"] = paper(method.paper)
        sections["What papers report"] = reported(method.paper)
    sections["What we measured"] = _measured(method.name)
    sections["Notebook"] = f"[{method.notebook}](../notebooks/{method.notebook}.ipynb)\n"
    body = "\n".join(f"## {head}\n\n{text}" for head, text in sections.items() if text)
    return f"# {method.name}\n\n{plain(method.one_line)}\n\n{html_table(pd.DataFrame([facts]))}\n{body}"


def _formula(method: Method) -> str:
    """One line a part, so that a phone shows it too."""
    text = formulas().get(method.name, "").replace(r"\qquad", r"\\ &")
    return fence("{math}", rf"\begin{{aligned}} & {text} \end{{aligned}}") if text else ""


def _code(method: Method) -> str:
    """Each part as its docstring, which Sphinx reads, and its code."""
    if method.ranking:
        method = replace(method, score=METHODS[method.ranking].score)
    blocks = []
    for field, name in PARTS.items():
        if part := getattr(method, field):
            kind = "class" if inspect.isclass(part) else "function"
            said = fence("{eval-rst}", f".. auto{kind}:: {part.__module__}.{part.__name__}\n   :no-index:")
            blocks.append(f"{name}:\n\n{said}\n{fence('python', source(part))}")
    return "\n".join(blocks)


def source(part: object) -> str:
    """The code of a function or class without its docstring, which the card shows as text.

    Examples
    --------
    >>> print(source(source).splitlines()[0])
    def source(part: object) -> str:
    """
    text = textwrap.dedent(inspect.getsource(part)).rstrip()
    return re.sub(r'\n *r?"""[\s\S]*?"""', "", text, count=1)


def _run(method: Method) -> str:
    """One call that runs it."""
    if method.during:
        return f'survey_lib.during(model, "{method.name}", 0.5, optimizer, steps, example=x)  # then train, and finish()'
    if method.ranking:
        recipe = f'sparsity=0.5, schedule="{method.schedule}", rounds=3, recovery="rewind"'
        return f'run(RunConfig(data="digits", model="resnet-8", method="{method.name}", {recipe}))'
    sparsity = 0.25 if method.unit == "layer" else 0.5
    data = ", batches=batches" if method.looks_at_data else ""
    return f'survey_lib.prune(model, "{method.name}", {sparsity}, example=x{data})'


@cache
def published() -> dict[str, pd.DataFrame]:
    """Study -> its finished published runs; scans that prune one layer alone are left out."""
    there = [name for name in studies.names() if store.published_file(name).exists()]
    return {name: finished(name, local=False).query("layer.isna()") for name in there}


def _measured(method: str) -> str:
    """The accuracy of a method in each published study that runs it, over seeds."""
    mine = {study: distinct(runs[runs["method"] == method]) for study, runs in published().items()}
    parts = [
        f"Test accuracy in study `{study}`, over seeds:\n\n{html_table(results_table(runs))}"
        for study, runs in mine.items()
        if len(runs)
    ]
    return "\n".join(parts) or "No published study of this project runs it.\n"


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
    return rows.assign(**{"measured by": by})[list(NUMBERS)].rename(columns=NUMBERS)


def papers_table() -> str:
    """All papers of the literature data on the survey's axes, with filters."""
    table = literature.papers().sort_values(["year", "first_author"])
    entry = Markup("<em>{}</em>. {}, {}. {}")
    table["paper"] = [
        entry.format(row.title, who(row), row.venue, _places(row, "")) for _, row in table.iterrows()
    ]
    table["card"] = [_cards(key) for key in table.index]
    table = table.rename(columns={"one_line": "what it does"})
    return html_table(table[["paper", "card", "year", "kind", *CLASSES, "what it does"]], searched=True)


def _cards(key: str) -> Markup:
    names = [row.name for row in METHODS.values() if row.paper == key]
    return Markup(" ").join(link(name, f"methods/{name}.html") for name in names)


def numbers_table() -> str:
    """All published numbers that were read in a named source, with filters."""
    rows = literature.published()
    shown = _numbers(rows, up="").assign(source=rows["source"], notes=rows["notes"])
    shown.insert(0, "paper", [cite(key, up="") for key in rows["paper_key"]])
    return html_table(shown, searched=True)
