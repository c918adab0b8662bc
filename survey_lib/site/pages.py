"""Generated pages of the site beside the method cards: figures, methods, library, commands."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import survey_lib
from survey_lib.analysis.tables import matching
from survey_lib.course.notebooks import FOLDER
from survey_lib.course.reading import asks
from survey_lib.figures.catalogue.draw import FIGURES, figure
from survey_lib.site.literature_pages import cite
from survey_lib.site.readme import METHOD_COLUMNS
from survey_lib.site.webtable import WIDE, escape, fence, html_table, link, plain, raw

SMALL = "_static/small"  # the thumbnails of docs/figures
ROOMS = {
    "chain": "the mechanics every method shares",
    "methods": "what each paper adds, a function a method",
    "steps": "how `prune` walks the chain",
    "measure": "parameters, MACs, storage, time",
    "experiment": "one run, many runs",
    "analysis": "what results say",
    "charts": "kinds of charts",
    "figures": "the figures of the catalogue and of each notebook",
    "course": "lessons, exercises, notebooks",
    "site": "the generated pages",
}


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


def figures_page(folder: Path, address: str, say: Callable[[str], None]) -> str:
    """Every figure of the catalogue, drawn into `folder`: small pictures first, then each with caption and permalink.

    A figure whose study has no published runs is said, on the page too.
    """
    drawn, text = {}, []
    say(f"drawing {len(FIGURES)} figures")
    for name, entry in FIGURES.items():
        try:
            figure(name, folder)
            drawn[name] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        except ValueError as refusal:
            say(f"figure {name} is not drawn: {refusal}")
            text.append(f"({name})=\n## {plain(entry.question)}\n\n{raw(escape(f'Not drawn: {refusal}'))}")
            continue
        text.append(f"({name})=\n## {plain(entry.question)}\n\n{raw(_figure(name, drawn[name], address))}")
    small = "".join(
        f'<a href="#{name}">{_image(name, sheet, SMALL)}<span>{escape(FIGURES[name].question)}</span></a>'
        for name, sheet in drawn.items()
    )
    return f"# Figures\n\n{raw(f'<div class=survey-gallery>{small}</div>')}\n" + "\n".join(text)


def _figure(name: str, sheet: dict, address: str) -> str:
    files = " · ".join(link(kind, f"{address}/{name}.{kind}") for kind in ("png", "svg", "pdf", "json"))
    entry = FIGURES[name]
    runs = f" Study <code>{entry.study}</code>, {len(sheet['run_keys'])} runs." if entry.study else ""
    again = f"<code>survey figure {name}</code> · <code>survey cite {name}</code>"
    says = f"{escape(sheet['caption'])}{runs} Notebook {entry.notebook}."
    picture = f'<a href="{address}/{name}.png">{_image(name, sheet, address)}</a>'
    below = f"<figcaption>{says}<br>{files} · {again}</figcaption>"
    return f'<figure class="survey-figure">{picture}{below}</figure>'


def _image(name: str, sheet: dict, address: str) -> str:
    return f'<img src="{address}/{name}.png" alt="{escape(sheet["alt"])}" loading="lazy">'


def commands_page(helps: Mapping[str, str]) -> str:
    """What `survey COMMAND --help` prints, one section a command."""
    return "# Commands\n\n" + "\n".join(f"## {name}\n\n{fence('text', text)}" for name, text in helps.items())


def library_pages() -> dict[str, str]:
    """File name -> page of the API reference, one a room of the library; Sphinx reads the docstrings."""
    top = [("survey_lib.prune", "prune"), ("survey_lib.catalogue", "catalogue")]
    pages = {f"{name}.rst": _page(name, "", [module]) for module, name in top}
    for room, says in ROOMS.items():
        pages[f"{room}.rst"] = _page(room, says, _modules(room))
    names = [name.removesuffix(".rst") for name in pages]
    public = "\n".join(
        f"* `survey_lib.{name}`: {_says(getattr(survey_lib, name))}" for name in survey_lib.__all__
    )
    rooms = "\n".join(f"* [{name}]({name}.rst)" for name in names)
    text = f"`import survey_lib` gives\n\n{public}\n\nThe rooms, with what is public in them:\n\n{rooms}\n"
    pages["index.md"] = f"# Library\n\n{text}{_toctree(names)}"
    return pages


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
    pictures = {entry.notebook: name for name, entry in reversed(FIGURES.items())}
    cards = []
    for path in sorted(FOLDER.glob("*.ipynb")):
        title, question = asks(path)
        figure = pictures.get(path.stem[:2])
        image = f'<img src="{SMALL}/{figure}.png" alt="" loading="lazy">' if figure else ""
        text = f"<strong>{escape(question)}</strong><span>{escape(title)}</span>"
        cards.append(f'<a href="notebooks/{path.stem}.html">{image}{text}</a>')
    return raw(f'<div class="survey-cards">{"".join(cards)}</div>')
