"""The source of the site: docs/, the notebooks, and pages made from catalogue, literature and results."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import nbformat
import yaml
from PIL import Image

from survey_lib.analysis.address import address
from survey_lib.course.notebooks import FOLDER
from survey_lib.experiment import files
from survey_lib.experiment.data.sources import REPOSITORY
from survey_lib.figures.catalogue.draw import THUMBNAILS
from survey_lib.site.cards import write_cards
from survey_lib.site.literature_pages import numbers_page, papers_page
from survey_lib.site.pages import commands_page, figure_pages, library_pages, methods_page, question_cards
from survey_lib.site.readme import findings, generated
from survey_lib.site.webbook import for_web
from survey_lib.site.webtable import findable


def write_source(out: str | Path, helps: Mapping[str, str], say: Callable[[str], None] = print) -> Path:
    """Write the folder that Sphinx builds the site from, in place of an older one.

    `helps`: command -> what it prints with --help.

    Parameters
    ----------
    out : str | Path
        The folder.
    helps : Mapping[str, str]
        Command -> what it prints with --help.
    say : Callable[[str], None], default print
        Is called with each line of progress.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    FileExistsError
        For a folder that holds anything else.
    """
    with files.anew(Path(out)) as fresh:
        _write(fresh, helps, say)
    return Path(out)


def _write(out: Path, helps: Mapping[str, str], say: Callable[[str], None]) -> None:
    repository_only = shutil.ignore_patterns("reading_the_code.md")  # its links lead to lines of files
    shutil.copytree(REPOSITORY / "docs", out, ignore=repository_only, dirs_exist_ok=True)
    start = (out / "index.md").read_text(encoding="utf-8")
    parts = {"questions": question_cards, "findings": findings}
    (out / "index.md").write_text(generated(start, parts), encoding="utf-8")
    for folder, width in {"small": 1000, "thumbnails": 480}.items():
        _shrink(out / "_static" / folder, width)
    (out / "notebooks").mkdir()
    where = address()
    synonyms = yaml.safe_load((REPOSITORY / "docs" / "synonyms.yaml").read_text(encoding="utf-8"))
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = for_web(nbformat.read(path, as_version=4), where.file("").rstrip("/") if where else "")
        notebook.cells[0].source = findable(
            notebook.cells[0].source, synonyms.get(f"notebooks/{path.stem}", [])
        )
        nbformat.write(notebook, out / "notebooks" / path.name)
    say("writing a card for each method")
    write_cards(out / "methods", synonyms)
    pages = {
        "methods/index.md": methods_page(),
        "literature.md": papers_page(),
        "published.md": numbers_page(),
        "commands.md": commands_page(helps),
    }
    pages |= figure_pages(out / "_static" / "figures", say)
    pages |= {f"library/{name}": text for name, text in library_pages().items()}
    for name, text in pages.items():
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text(text, encoding="utf-8")


def _shrink(folder: Path, width: int) -> None:
    """The pictures of docs/figures in 64 colours and at most this wide."""
    folder.mkdir()
    for path in THUMBNAILS.glob("*.png"):
        with Image.open(path) as picture:
            small = picture.convert("RGB")
        small.thumbnail((width, width))
        small.quantize(64).save(folder / path.name, optimize=True)
