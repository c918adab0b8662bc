"""Generated pages of the site beside the method cards: methods and figures."""

import json
from collections.abc import Iterable
from pathlib import Path

from survey_lib.analysis.tables import matching
from survey_lib.course.notebooks import FOLDER
from survey_lib.figures.catalogue import FIGURES, THUMBNAILS, figure
from survey_lib.figures.catalogue import cite as cite_figure
from survey_lib.site.literature_pages import cite
from survey_lib.site.readme import METHOD_COLUMNS
from survey_lib.site.webtable import WIDE, fence, html_table, link, plain, raw


def methods_page() -> str:
    """The table of methods with filters; each name leads to the method's card."""
    table = matching()[METHOD_COLUMNS]
    table["paper"] = [cite(key) if isinstance(key, str) else "" for key in table["paper"]]
    table["notebook"] = [link(name, f"../notebooks/{name}.html") for name in table["notebook"]]
    names = list(table["method"])
    table["method"] = [link(name, f"{name}.html") for name in names]
    says = f"{len(names)} methods; each has a card with formula, code, paper, published and own results."
    return f"{WIDE}# Methods\n\n{says}\n\n{raw(html_table(table, searched=True))}{_toctree(names)}"


def _toctree(names: Iterable[str]) -> str:
    return "\n```{toctree}\n:hidden:\n:maxdepth: 1\n\n" + "\n".join(names) + "\n```\n"


def figure_pages(folder: Path) -> dict[str, str]:
    """Page by path: the table of docs/figures, and one page a figure, which is drawn into `folder`."""
    pages = {f"figures/{name}.md": _figure_page(name, folder) for name in FIGURES}
    table = (THUMBNAILS / "README.md").read_text(encoding="utf-8")
    return pages | {"figures/index.md": table.replace(".png)", ".md)") + _toctree(FIGURES)}


def _figure_page(name: str, folder: Path) -> str:
    figure(name, folder)
    sheet = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    entry = FIGURES[name]
    (lesson,) = FOLDER.glob(f"{entry.notebook}_*.ipynb")
    files = [f"[{kind}](../_static/figures/{name}.{kind})" for kind in ("json", "png", "svg", "pdf")]
    source = f"study {entry.study}, {len(sheet['run_keys'])} runs" if entry.study else "no study"
    picture = f":alt: {' '.join(sheet['alt'].split())}\n\n{plain(sheet['caption'])}"
    return (
        f"# {plain(entry.asks)}\n\n{fence(f'{{figure}} ../_static/figures/{name}.svg', picture)}\n"
        f"Drawn from {source}; explained in [notebook {entry.notebook}](../notebooks/{lesson.name}). "
        f"The data sheet, and the picture in three formats: {', '.join(files)}.\n\n"
        f"{fence('bash', f'survey figure {name}')}\n{fence('bibtex', cite_figure(name))}"
    )
