"""Where the drawings of a notebook come from, so that a reader can guess it; and what no notebook may leave out."""

import re
from importlib import import_module
from pathlib import Path

import nbformat
import pytest
import yaml

from survey_lib.figures.catalogue import FIGURES
from survey_lib.repository import REPOSITORY

NOTEBOOKS = {path.stem: nbformat.read(path, 4) for path in sorted((REPOSITORY / "notebooks").glob("*.ipynb"))}
PUBLISHED = {path.stem for path in (REPOSITORY / "data" / "results").glob("*.jsonl")}
DRAWINGS = re.compile(r"from survey_lib\.figures(?:\.(\w+))? import ([\w, ]+)")
STUDY = re.compile(r"""(?:study|results|records|finished|level)\(\s*["']([\w-]+)["']""")


def source(notebook: nbformat.NotebookNode, kind: str) -> str:
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == kind)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_of_the_catalogue_is_drawn_in_the_notebook_that_it_names(name):
    (notebook,) = (one for stem, one in NOTEBOOKS.items() if stem.startswith(f"{FIGURES[name].notebook}_"))
    shown = f"](../docs/figures/{name}.png)" in source(notebook, "markdown")
    assert shown or re.search(rf"\.{FIGURES[name].draw.__name__}\(", source(notebook, "code"))


def listed(module: str) -> set[str]:
    """The notebooks that the first line of a module of figures lists, such as "00, 09 and 12 to 14"."""
    first = import_module(f"survey_lib.figures.{module}").__doc__.splitlines()[0]
    spans = [range(int(low), int(high) + 1) for low, high in re.findall(r"(\d\d) to (\d\d)", first)]
    return {*re.findall(r"\d\d", first), *(f"{number:02}" for span in spans for number in span)}


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_a_notebook_takes_its_drawings_from_a_module_that_lists_it(stem):
    found = DRAWINGS.findall(source(NOTEBOOKS[stem], "code"))
    taken = {module for part, names in found for module in ([part] if part else names.split(", "))}
    assert all(stem[:2] in listed(module) for module in taken)


def test_each_module_of_figures_lists_the_notebooks_of_its_figures_and_no_others():
    shown = {}
    for entry in FIGURES.values():
        shown.setdefault(entry.draw.__module__.rpartition(".")[2], set()).add(entry.notebook)
    assert shown == {module: listed(module) for module in shown}


@pytest.mark.parametrize("study", sorted(PUBLISHED - {"mini"}))  # mini: one seed, no comparison
def test_every_published_study_is_shown_in_a_notebook(study):
    """Its runs are read in a cell, a figure of it stands in the text, or the text quotes a finding of it."""
    code = "".join(source(notebook, "code") for notebook in NOTEBOOKS.values())
    text = "".join(source(notebook, "markdown") for notebook in NOTEBOOKS.values())
    claims = yaml.safe_load((REPOSITORY / "data" / "claims.yaml").read_text(encoding="utf-8"))
    drawn = {entry.study for name, entry in FIGURES.items() if f"/figures/{name}.png" in text}
    quoted = {claim["study"] for name, claim in claims.items() if f'finding("{name}")' in text}
    assert study in {*STUDY.findall(code), *drawn, *quoted}


def test_every_picture_in_a_notebook_is_a_figure_of_the_catalogue():
    text = "".join(source(notebook, "markdown") for notebook in NOTEBOOKS.values())
    names = {Path(found).stem for found in re.findall(r"\]\(\.\./docs/figures/([^)]+)\)", text)}
    assert names and names <= set(FIGURES)
