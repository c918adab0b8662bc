"""Generated pages of the site beside the method cards: figures, methods, library, commands."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

import pandas as pd

import survey_lib
from survey_lib.analysis.address import address
from survey_lib.analysis.tables import matching
from survey_lib.course.notebooks import FOLDER
from survey_lib.course.reading import asks
from survey_lib.figures.catalogue.draw import FIGURES, figure
from survey_lib.figures.catalogue.draw import cite as cite_figure
from survey_lib.site.literature_pages import cite
from survey_lib.site.readme import METHOD_COLUMNS
from survey_lib.site.webtable import WIDE, Html, escape, fence, html_table, link, plain, raw

TOP = ("prune", "catalogue")
ROOMS = (
    "chain",
    "methods",
    "steps",
    "measure",
    "experiment",
    "analysis",
    "charts",
    "figures",
    "course",
    "site",
)
PICTURES = {entry.notebook: name for name, entry in reversed(FIGURES.items())}  # lesson -> its first figure


def methods_page() -> str:
    """The table of methods with filters; each name leads to the method's card."""
    table = matching()[METHOD_COLUMNS]
    table["paper"] = [cite(key) if isinstance(key, str) else "" for key in table["paper"]]
    table["notebook"] = [_notebook(name) for name in table["notebook"]]
    names = list(table["method"])
    table["method"] = [link(name, f"{name}.html") for name in names]
    says = f"{len(names)} methods; each has a card with formula, code, paper, published and own results."
    body = raw(html_table(table, choices=["category", "when", "cost"], searched=True))
    return f"{WIDE}# Methods\n\n{says}\n\n{body}{_toctree(names)}"


def _notebook(name: str) -> str:
    return link(name, f"../notebooks/{name}.html") if (FOLDER / f"{name}.ipynb").exists() else name


def _toctree(names: list[str]) -> str:
    return "\n```{toctree}\n:hidden:\n:maxdepth: 1\n\n" + "\n".join(names) + "\n```\n"


def figure_pages(folder: Path, say: Callable[[str], None]) -> dict[str, str]:
    """Page by path: an index, and one page a figure.

    The figures are drawn into `folder`, their data beside them as CSV. A figure whose study has no published
    runs is said, on its page too.

    Parameters
    ----------
    folder : Path
        Folder of the figures.
    say : Callable[[str], None]
        Is called with each line of progress.
    """
    say(f"drawing {len(FIGURES)} figures")
    pages = {f"figures/{name}.md": _figure_page(name, folder, say) for name in FIGURES}
    small = [
        f'<a href="{name}.html">{_thumbnail(name, "../")}<span>{escape(entry.question)}</span></a>'
        for name, entry in FIGURES.items()
    ]
    says = f"{len(FIGURES)} figures; each has a page with its data, the command that draws it, and a reference to copy."
    gallery = raw(f"<div class=survey-gallery>{''.join(small)}</div>")
    return pages | {"figures/index.md": f"{WIDE}# Figures\n\n{says}\n\n{gallery}{_toctree(list(FIGURES))}"}


def _figure_page(name: str, folder: Path, say: Callable[[str], None]) -> str:
    entry = FIGURES[name]
    try:
        figure(name, folder)
    except ValueError as refusal:
        say(f"figure {name} is not drawn: {refusal}")
        return f"# {plain(entry.question)}\n\n{raw(escape(f'Not drawn: {refusal}'))}"
    sheet = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    pd.DataFrame(sheet["data"]).to_csv(folder / f"{name}.csv", index=False)
    picture = f":alt: {' '.join(sheet['alt'].split())}\n\n{plain(sheet['caption'])}"
    parts = [
        f"# {plain(entry.question)}\n",
        fence(f"{{figure}} ../_static/figures/{name}.svg", picture),
        raw(html_table(_facts(name, sheet))),
        f"## Draw it\n\n{fence('bash', f'survey figure {name}')}",
        f"## Cite it\n\n{fence('bibtex', cite_figure(name))}",
    ]
    return "\n".join(parts)


def _facts(name: str, sheet: dict) -> pd.DataFrame:
    entry, where, page = FIGURES[name], address(), f"{name}.html"
    kinds = ("csv", "json", "png", "svg", "pdf")
    files = [link(kind.upper(), f"../_static/figures/{name}.{kind}") for kind in kinds]
    lesson = next(FOLDER.glob(f"{entry.notebook}_*.ipynb"))
    facts = {
        "drawn from": f"study {entry.study}, {len(sheet['run_keys'])} runs" if entry.study else "no study",
        "lesson": link(asks(lesson)[0], f"../notebooks/{lesson.stem}.html"),
        "permalink": link(page, f"{where.site}/figures/{page}" if where else page),
        f"data ({len(sheet['data'])} rows) and pictures": Html(" · ".join(files)),
    }
    return pd.DataFrame([facts])


def pictured(page: str) -> str:
    """The figure that a shared link to a page shows.

    Examples
    --------
    >>> pictured("figures/taxonomy"), pictured("notebooks/05_lottery_tickets"), pictured("install")
    ('taxonomy', 'winning-tickets', 'tradeoff')
    """
    name = page.rpartition("/")[2]
    return name if name in FIGURES else PICTURES.get(name[:2], "tradeoff")


def _thumbnail(name: str, up: str) -> str:
    return f'<img src="{up}_static/thumbnails/{name}.png" alt="" loading="lazy">'


def commands_page(helps: Mapping[str, str]) -> str:
    """What `survey COMMAND --help` prints, one section a command."""
    return "# Commands\n\n" + "\n".join(f"## {name}\n\n{fence('text', text)}" for name, text in helps.items())


def library_pages() -> dict[str, str]:
    """File name -> page of the API reference, one a room of the library; Sphinx reads the docstrings."""
    pages = {f"{name}.rst": _page(name, "", [f"survey_lib.{name}"]) for name in TOP}
    pages |= {f"{room}.rst": _page(room, _about(room), _modules(room)) for room in ROOMS}
    names = [name.removesuffix(".rst") for name in pages]
    public = "\n".join(
        f"* `survey_lib.{name}`: {_says(getattr(survey_lib, name))}" for name in survey_lib.__all__
    )
    rooms = "\n".join(f"* [{name}]({name}.rst): {plain(_about(name))}" for name in (*TOP, *ROOMS))
    text = f"`import survey_lib` brings\n\n{public}\n\nIts parts, each with a page:\n\n{rooms}\n"
    pages["index.md"] = f"# Library\n\n{text}{_toctree(names)}"
    return pages


def _about(module: str) -> str:
    """The first line of a module's docstring."""
    return inspect.getdoc(import_module(f"survey_lib.{module}")).partition("\n")[0]


def _says(public: object) -> str:
    """The first sentence about a public name."""
    return (
        "every method by name"
        if isinstance(public, dict)
        else plain(inspect.getdoc(public).partition("\n\n")[0])
    )


def _page(name: str, says: str, modules: list[str]) -> str:
    parts = [name, "=" * len(name), "", says.replace("`", "``"), ""]
    for module in modules:
        parts += [module, "-" * len(module), "", f".. automodule:: {module}", "   :members:", ""]
    return "\n".join(parts)


def _modules(room: str) -> list[str]:
    library = Path(survey_lib.__file__).parents[1]
    found = sorted((library / "survey_lib" / room).rglob("*.py"))
    names = [".".join(path.relative_to(library).with_suffix("").parts) for path in found]
    return [name for name in names if not name.endswith("__init__")]


def question_cards() -> str:
    """One card a notebook for the start page: its question, with a figure that answers it where there is one."""
    cards = []
    for path in sorted(FOLDER.glob("*.ipynb")):
        title, question = asks(path)
        figure = PICTURES.get(path.stem[:2])
        image = _thumbnail(figure, "") if figure else ""
        text = f"<strong>{escape(question)}</strong><span>{escape(title)}</span>"
        cards.append(f'<a href="notebooks/{path.stem}.html">{image}{text}</a>')
    return raw(f'<div class="survey-cards">{"".join(cards)}</div>')
