"""Method cards: one page a method, made from METHODS, the literature data and the published results."""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pandas as pd
import yaml

from survey_lib.analysis.tables import distinct, finished, results_table
from survey_lib.catalogue import METHODS, Method, cost
from survey_lib.experiment.data.sources import REPOSITORY
from survey_lib.experiment.sweeps import store
from survey_lib.experiment.sweeps import study as studies
from survey_lib.site.literature_tables import paper, reported, title
from survey_lib.site.webtable import fence, findable, html_table, plain

PARTS = {
    "score": "Score",
    "repair": "Repair",
    "solve": "Choice and repair",
    "allocate": "Layer sparsities",
    "search": "Search",
    "permute": "Order of the channels",
    "during": "Rule while training",
}


FACTS = ("category", "unit", "structure", "when", "scope", "schedule")


def formulas() -> dict[str, str]:
    """Method -> its formula in LaTeX, from docs/formulas.yaml; a method without one has its docstring's."""
    return yaml.safe_load((REPOSITORY / "docs" / "formulas.yaml").read_text(encoding="utf-8"))


def write_cards(folder: Path, synonyms: Mapping[str, list[str]]) -> None:
    """Write a page for each method.

    Parameters
    ----------
    folder : Path
        Folder of the pages.
    synonyms : Mapping[str, list[str]]
        Page -> words it is found by.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, method in METHODS.items():
        page = findable(card(method), synonyms.get(f"methods/{name}", ()))
        (folder / f"{name}.md").write_text(page, encoding="utf-8")


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


def _parts(method: Method) -> Iterator[tuple[str, object]]:
    if method.ranking:
        method = replace(method, score=METHODS[method.ranking].score)
    return ((title, getattr(method, field)) for field, title in PARTS.items() if getattr(method, field))


def _code(method: Method) -> str:
    """Each part as its docstring, which Sphinx reads, and its code."""
    blocks = []
    for name, part in _parts(method):
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
    lines = textwrap.dedent(inspect.getsource(part)).splitlines()
    node = ast.parse("\n".join(lines)).body[0]
    if ast.get_docstring(node):
        first = node.body[0]
        del lines[first.lineno - 1 : first.end_lineno]
    return "\n".join(lines)


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
    parts = []
    for study, runs in published().items():
        mine = distinct(runs[runs["method"] == method])
        if len(mine):
            parts.append(
                f"Test accuracy in study `{study}`, over seeds:\n\n{html_table(results_table(mine))}"
            )
    return "\n".join(parts) or "No published study of this project runs it.\n"
