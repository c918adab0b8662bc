"""The source of the site: docs/, the notebooks, and pages made from catalogue, literature and results."""

import json
import shutil
from pathlib import Path

import nbformat
import yaml

from survey_lib.analysis.address import address
from survey_lib.analysis.tables import matching
from survey_lib.course.notebooks import FOLDER
from survey_lib.experiment import files
from survey_lib.experiment.data.sources import REPOSITORY
from survey_lib.figures.catalogue import FIGURES, cite, figure
from survey_lib.site import literature_tables
from survey_lib.site.cards import write_cards
from survey_lib.site.readme import METHOD_COLUMNS, README, generated
from survey_lib.site.webbook import for_web
from survey_lib.site.webtable import fence, findable, html_table, link, plain

CONTENTS = "\n```{toctree}\n:hidden:\n:glob:\n\n*\n```\n"  # of a folder with a page for each method or figure


def write_source(out: Path) -> Path:
    """Write the folder that Sphinx builds the site from, in place of an older one.

    Raises
    ------
    FileExistsError
        For a folder that holds anything else.
    """
    with files.into(out, alone=True) as fresh:
        _write(fresh)
    return out


def _write(out: Path) -> None:
    repository_only = shutil.ignore_patterns("reading_the_code.md")  # its links lead to lines of files
    shutil.copytree(REPOSITORY / "docs", out, ignore=repository_only, dirs_exist_ok=True)
    shutil.copy(README, out)  # the start page includes parts of it
    synonyms = yaml.safe_load((out / "synonyms.yaml").read_text(encoding="utf-8"))
    _write_notebooks(out / "notebooks", synonyms)
    write_cards(out / "methods", synonyms)
    _fill(out / "literature.md", "papers", literature_tables.papers_table())
    _fill(out / "published.md", "numbers", literature_tables.numbers_table())
    _fill(out / "methods.md", "methods", methods_table() + CONTENTS)
    (out / "methods.md").rename(out / "methods" / "index.md")
    for name in FIGURES:
        page = figure_page(name, out / "_static" / "figures")
        (out / "figures" / f"{name}.md").write_text(page, encoding="utf-8")
    table = (out / "figures" / "README.md").read_text(encoding="utf-8").replace(".png)", ".md)")
    (out / "figures" / "index.md").write_text(table + CONTENTS, encoding="utf-8")


def _fill(page: Path, name: str, text: str) -> None:
    page.write_text(generated(page.read_text(encoding="utf-8"), {name: lambda: text}), encoding="utf-8")


def _write_notebooks(folder: Path, synonyms: dict[str, list[str]]) -> None:
    folder.mkdir()
    where = address()
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = for_web(nbformat.read(path, as_version=4), where.file("").rstrip("/") if where else "")
        first = notebook.cells[0]
        first.source = findable(first.source, synonyms.get(f"notebooks/{path.stem}", ()))
        nbformat.write(notebook, folder / path.name)


def methods_table() -> str:
    """The table of methods with filters; each name leads to the method's card."""
    table = matching()[METHOD_COLUMNS]
    table["paper"] = [literature_tables.cite(key) for key in table["paper"].fillna("")]
    table["notebook"] = [link(name, f"../notebooks/{name}.html") for name in table["notebook"]]
    table["method"] = [link(name, f"{name}.html") for name in table["method"]]
    return html_table(table, searched=True)


def figure_page(name: str, folder: Path) -> str:
    """The page of a figure, which is drawn into `folder`.

    Parameters
    ----------
    name : str
        Name of the figure.
    folder : Path
        Folder of the pictures.
    """
    figure(name, folder)
    sheet = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    entry = FIGURES[name]
    (lesson,) = FOLDER.glob(f"{entry.notebook}_*.ipynb")
    kinds = ", ".join(f"[{kind}](../_static/figures/{name}.{kind})" for kind in ("json", "png", "svg", "pdf"))
    source = f"study {entry.study}, {len(sheet['run_keys'])} runs" if entry.study else "no study"
    picture = f":alt: {' '.join(sheet['alt'].split())}\n\n{plain(sheet['caption'])}"
    return (
        f"# {plain(FIGURES[name].asks)}\n\n{fence(f'{{figure}} ../_static/figures/{name}.svg', picture)}\n"
        f"Drawn from {source}; explained in [notebook {entry.notebook}](../notebooks/{lesson.name}). "
        f"The data sheet, and the picture in three formats: {kinds}.\n\n"
        f"{fence('bash', f'survey figure {name}')}\n{fence('bibtex', cite(name))}"
    )
