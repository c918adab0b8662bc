"""The source of the site: docs/, the notebooks, and pages made from catalogue, literature and results."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import nbformat

from survey_lib.course.notebooks import FOLDER
from survey_lib.experiment import files
from survey_lib.experiment.data.sources import REPOSITORY
from survey_lib.site.cards import write_cards
from survey_lib.site.literature_pages import numbers_page, papers_page
from survey_lib.site.pages import commands_page, figures_page, library_pages, methods_page
from survey_lib.site.webbook import for_web

HOME, TAG = "https://github.com/OWNER/REPO", "TAG"  # where the repository is read and launched from


def write_source(out: str | Path, helps: Mapping[str, str], say: Callable[[str], None] = print) -> Path:
    """Write the folder that Sphinx builds the site from, in place of an older one; the folder.

    `helps`: command -> what it prints with --help. Raises FileExistsError for a folder that holds anything else.
    """
    with files.anew(Path(out)) as fresh:
        _write(fresh, helps, say)
    return Path(out)


def _write(out: Path, helps: Mapping[str, str], say: Callable[[str], None]) -> None:
    shutil.copytree(REPOSITORY / "docs", out, dirs_exist_ok=True)
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
