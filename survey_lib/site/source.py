"""The source of the site: docs/, the notebooks, and pages made from catalogue, literature and results."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import nbformat

from survey_lib.course.notebooks import FOLDER
from survey_lib.experiment.data.sources import REPOSITORY
from survey_lib.site.cards import write_cards
from survey_lib.site.literature_pages import numbers_page, papers_page
from survey_lib.site.pages import commands_page, figures_page, library_pages, methods_page
from survey_lib.site.webbook import for_web

HOME, TAG = "https://github.com/OWNER/REPO", "TAG"  # where the repository is read and launched from


def write_source(out: str | Path, helps: Mapping[str, str], say: Callable[[str], None] = print) -> Path:
    """Write the folder that Sphinx builds the site from, in place of an older one; the folder.

    `helps`: command -> what it prints with --help. Raises ValueError for a folder that holds something else.
    """
    out = Path(out)
    _clear(out)
    shutil.copytree(REPOSITORY / "docs", out)
    (out / "notebooks").mkdir()
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = for_web(nbformat.read(path, as_version=4), f"{HOME}/blob/{TAG}")
        nbformat.write(notebook, out / "notebooks" / path.name)
    say(f"cards of {len(write_cards(out / 'methods'))} methods")
    figures = figures_page(out / "_static" / "figures", "_static/figures", say)
    pages = {"methods/index.md": methods_page(), "figures.md": figures, "literature.md": papers_page(),
             "published.md": numbers_page(), "commands.md": commands_page(helps)}  # fmt: skip
    pages |= {f"library/{name}": text for name, text in library_pages().items()}
    for name, text in pages.items():
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text(text, encoding="utf-8")
    return out


def _clear(out: Path) -> None:
    if out.exists() and any(out.iterdir()) and not (out / "conf.py").exists():
        raise ValueError(f"{out} holds something that is no source of the site; give a new folder")
    shutil.rmtree(out, ignore_errors=True)
