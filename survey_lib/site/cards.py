"""Method cards: one page a method, made from METHODS, the literature data and the published results."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import yaml

from survey_lib.analysis import literature
from survey_lib.catalogue import METHODS, Method, chapter, cost
from survey_lib.charts.export import save_figure
from survey_lib.charts.plots import house_style
from survey_lib.experiment.data.sources import REPOSITORY
from survey_lib.site import own_results
from survey_lib.site.literature_pages import paper, reported, who
from survey_lib.site.webtable import escape, fence, findable, html_table, plain, raw

PARTS = {
    "score": "Score",
    "repair": "Repair",
    "solve": "Choice and repair",
    "allocate": "Layer sparsities",
    "search": "Search",
    "permute": "Order of the channels",
    "during": "Rule while training",
}


def formulas() -> dict[str, str]:
    """Method -> its formula in LaTeX, from docs/formulas.yaml; a method without one has its docstring's."""
    return yaml.safe_load((REPOSITORY / "docs" / "formulas.yaml").read_text(encoding="utf-8"))


def write_cards(folder: Path, synonyms: Mapping[str, list[str]]) -> list[str]:
    """Write a page for each method that works, with its drawings.

    Parameters
    ----------
    folder : Path
        Folder of the pages.
    synonyms : Mapping[str, list[str]]
        Page -> words it is found by.

    Returns
    -------
    list[str]
        The names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    house_style()
    names = list(METHODS)
    for name in names:
        page = findable(card(METHODS[name], folder), synonyms.get(f"methods/{name}", []))
        (folder / f"{name}.md").write_text(page, encoding="utf-8")
    return names


def card(method: Method, folder: Path) -> str:
    """The page of a method in MyST Markdown; its drawings are written into the folder.

    Parameters
    ----------
    method : Method
        A row of METHODS.
    folder : Path
        Folder of the drawings.
    """
    sections = {
        "Formula": _formula(method),
        "What it does, and where it fails": _explained(method),
        "Code": _code(method),
        "Run it": _run(method),
        _paper_heading(method.paper): paper(method.paper),
        "What papers report": reported(method.paper),
        "What we measured": _measured(method.name, folder),
        "Notebook": _notebook(method),
    }
    body = "\n".join(f"## {title}\n\n{text}" for title, text in sections.items() if text)
    return f"# {method.name}\n\n{plain(method.one_line)}\n\n{raw(html_table(_facts(method)))}\n{body}"


def _paper_heading(key: str) -> str:
    """What the search finds the card by: title, authors and year of its paper."""
    if not key:
        return "Paper"
    row = literature.papers().loc[key]
    return f"Paper: {plain(row['title'])} ({plain(who(row))}, {row['year']})"


def _facts(method: Method) -> pd.DataFrame:
    facts = {
        "category": method.category,
        "removes": method.unit,
        "structure": method.structure,
        "when": method.when,
        "scope": method.scope,
        "schedule": method.schedule,
        "looks at": ", ".join(method.needs) or "weights only",
        "cost": cost(method),
    }
    return pd.DataFrame([facts])


def _formula(method: Method) -> str:
    """One line a part, so that a phone shows it too."""
    lines = formulas().get(method.name, "").split(r"\qquad")
    mark = "& " * (len(lines) > 1)  # aligns several lines; a single one must not have it
    return fence("{math}", " \\\\\n".join(mark + line.strip() for line in lines)) if lines[0] else ""


def _parts(method: Method) -> Iterator[tuple[str, object]]:
    if method.ranking:
        method = replace(method, score=METHODS[method.ranking].score)
    return ((title, getattr(method, field)) for field, title in PARTS.items() if getattr(method, field))


def _explained(method: Method) -> str:
    """The docstrings, which Sphinx reads."""
    kinds = ((part, "class" if inspect.isclass(part) else "function") for _, part in _parts(method))
    texts = (f".. auto{kind}:: {part.__module__}.{part.__name__}\n   :no-index:" for part, kind in kinds)
    return "\n".join(fence("{eval-rst}", text) for text in texts)


def _code(method: Method) -> str:
    return "\n".join(
        f"{title}, in `{part.__module__}`:\n\n{fence('python', source(part))}"
        for title, part in _parts(method)
    )


def source(part: object) -> str:
    """The code of a function or class without its docstring, which the card shows as text.

    Examples
    --------
    >>> print(source(source).splitlines()[0])
    def source(part: object) -> str:
    """
    lines = textwrap.dedent(inspect.getsource(part)).splitlines()
    node = ast.parse("\n".join(lines)).body[0]
    if ast.get_docstring(node):
        first = node.body[0]
        del lines[first.lineno - 1 : first.end_lineno]
    return "\n".join(lines)


def _run(method: Method) -> str:
    if method.during:
        lines = [
            f'session = survey_lib.during(model, "{method.name}", 0.5, optimizer, steps, example=x)',
            "...  # your training loop, `steps` optimizer steps",
            "masks = session.finish()",
        ]
        if method.ranking:
            lines.append(f'small = survey_lib.prune(model, "{method.ranking}", 0.5, example=x).model')
    elif method.ranking:
        lines = [
            f'config = RunConfig(data="digits", model="resnet-8", method="{method.name}", sparsity=0.5,',
            f'                   schedule="{method.schedule}", rounds=3, recovery="rewind")',
            "record = run(config)",
        ]
    else:
        sparsity = 0.25 if method.unit == "layer" else 0.5
        data = ", batches=batches" if method.looks_at_data else ""
        lines = [f'result = survey_lib.prune(model, "{method.name}", sparsity={sparsity}, example=x{data})']
    return fence("python", "\n".join(lines))


def _measured(name: str, folder: Path) -> str:
    found = own_results.of(name)
    parts = [_study(study, name, rows, folder) for study, rows in found.items()]
    return "\n".join(parts) or "No published study of this project runs it.\n"


def _study(study: str, name: str, rows: pd.DataFrame, folder: Path) -> str:
    same, table = own_results.table(rows)
    head = f"<p>Study <code>{study}</code>, means and standard deviations over seeds ({escape(same)}):</p>"
    text = raw(head + html_table(table)) + "\n"
    drawn = own_results.drawing(study, name)
    if drawn is None:
        return text
    save_figure(drawn, f"{name}-{study}", folder / "drawings", study=study, keys=sorted(rows["key"]))
    plt.close(drawn.figure)
    image = f"drawings/{name}-{study}.svg"
    about = f":alt: {' '.join(drawn.alt.split())}\n\n{plain(drawn.caption)}"
    return f"{text}\n{fence('{figure} ' + image, about)}"


def _notebook(method: Method) -> str:
    return f"[{chapter(method)}](../notebooks/{chapter(method)}.ipynb)\n"
