"""The source of the site: docs/, the notebooks, and pages made from catalogue, literature and results."""

import shutil
from pathlib import Path

import nbformat
import yaml

from survey_lib.analysis.address import address
from survey_lib.course.notebooks import FOLDER
from survey_lib.experiment import files
from survey_lib.experiment.data.sources import REPOSITORY
from survey_lib.site.cards import write_cards
from survey_lib.site.literature_pages import numbers_page, papers_page
from survey_lib.site.pages import figure_pages, methods_page
from survey_lib.site.readme import findings, generated, notebooks
from survey_lib.site.webbook import for_web
from survey_lib.site.webtable import findable


def write_source(out: str | Path) -> Path:
    """Write the folder that Sphinx builds the site from, in place of an older one.

    Raises
    ------
    FileExistsError
        For a folder that holds anything else.
    """
    with files.anew(Path(out)) as fresh:
        _write(fresh)
    return Path(out)


def _write(out: Path) -> None:
    repository_only = shutil.ignore_patterns("reading_the_code.md")  # its links lead to lines of files
    shutil.copytree(REPOSITORY / "docs", out, ignore=repository_only, dirs_exist_ok=True)
    start = (out / "index.md").read_text(encoding="utf-8")
    (out / "index.md").write_text(
        generated(start, {"findings": findings, "notebooks": notebooks}), encoding="utf-8"
    )
    (out / "notebooks").mkdir()
    where = address()
    synonyms = yaml.safe_load((out / "synonyms.yaml").read_text(encoding="utf-8"))
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = for_web(nbformat.read(path, as_version=4), where.file("").rstrip("/") if where else "")
        first = notebook.cells[0]
        first.source = findable(first.source, synonyms.get(f"notebooks/{path.stem}", ()))
        nbformat.write(notebook, out / "notebooks" / path.name)
    write_cards(out / "methods", synonyms)
    pages = {
        "methods/index.md": methods_page(),
        "literature.md": papers_page(),
        "published.md": numbers_page(),
    }
    for name, text in (pages | figure_pages(out / "_static" / "figures")).items():
        (out / name).write_text(text, encoding="utf-8")
