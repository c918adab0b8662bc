"""What is generated: parts of README.md and of docs/, and the folder that Sphinx builds the site from."""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import nbformat
import pandas as pd
import yaml

from survey_lib.analysis.address import about, address
from survey_lib.analysis.literature import entry
from survey_lib.analysis.tables import markdown, matching
from survey_lib.catalogue import METHODS
from survey_lib.course.notebooks import FOLDER
from survey_lib.experiment import files
from survey_lib.experiment.data.sources import REPOSITORY
from survey_lib.figures.catalogue import FIGURES, cite, figure
from survey_lib.site import pages
from survey_lib.site.web import fence, findable, for_web, html_table, link, plain

README = REPOSITORY / "README.md"
METHOD_COLUMNS = ["method", "category", "when", "cost", "what it does", "paper", "notebook"]
CONTENTS = "\n```{toctree}\n:hidden:\n:glob:\n\n*\n```\n"  # of a folder with a page for each method or figure


def badges() -> str:
    """Links that launch the course, once it has an address."""
    where = address()
    if not where:
        return ""
    name, first = where.home.removeprefix("https://github.com/"), "notebooks/00_start_here.ipynb"
    binder = f"https://mybinder.org/v2/gh/{name}/{where.tag}?urlpath=lab/tree/{first}"
    colab = f"https://colab.research.google.com/github/{name}/blob/{where.tag}/{first}"
    return f"[{name} {where.tag}]({where.home}) · [Open in Binder]({binder}) · [Open in Colab]({colab})"


def notebooks() -> str:
    """One row a notebook: its title, which leads to it, and its question, the first bold text of the second cell."""
    rows = []
    for path in sorted(FOLDER.glob("*.ipynb")):
        head, question = (cell.source for cell in nbformat.read(path, as_version=4).cells[:2])
        title = head.partition("\n")[0].removeprefix("# ")
        asked = re.search(r"\*\*(.+?)\*\*", question, re.DOTALL)[1]
        rows.append((f"[{title}](notebooks/{path.name})", " ".join(asked.split())))
    return markdown(pd.DataFrame(rows, columns=["notebook", "asks"]))


def colab() -> str:
    """The cell that fetches the course on Colab, where only torch is installed, once there is an address."""
    where = address()
    if not where:
        return "The repository has no address yet: with `repository-code` in CITATION.cff `survey generate` writes it here."
    folder = where.home.rpartition("/")[2]
    return f"""```text
!git clone --depth 1 --branch {where.tag} {where.home}
!python -m pip install --quiet -e {folder}
%cd {folder}/notebooks
```"""


def citation() -> str:
    """The project as BibTeX."""
    said = about()
    fields = {
        "title": f"{{{said['title']}}}",
        "author": " and ".join(f"{{{author['name']}}}" for author in said["authors"]),
        "version": said["version"],
        "year": f"{said.get('date-released', '')}"[:4],
        "url": said.get("repository-code", ""),
    }
    return fence("bibtex", entry("software", "survey_lib", fields)).rstrip()


def figures_table() -> str:
    """One row a figure: thumbnail, name, what it asks, the notebook that discusses it, the study it is drawn from."""
    rows = []
    for name, one in FIGURES.items():
        picture = f'<img src="{name}.png" width="220" alt="{one.asks}">'
        rows.append((picture, f"[{name}]({name}.png)", one.asks, one.notebook, one.study or "none"))
    return markdown(pd.DataFrame(rows, columns=["", "figure", "asks", "notebook", "study"]))


def zoo_table() -> str:
    """One row a network, from what benchmarks/zoo.py measured; at most two of its fixed layers."""
    rows = pd.read_csv(REPOSITORY / "benchmarks" / "zoo.csv", keep_default_na=False)
    rows["left"] = rows["parameters_after"] / rows["parameters_before"]
    left = rows.pivot(index="model", columns="sparsity", values="left").map("{:.0%}".format)
    groups = rows.groupby("model", sort=False)
    table = groups[["groups", "channels"]].max().join(left.add_prefix("parameters left at "))
    table["masked against cut"] = groups["masked_equals_cut"].last()
    table["refused"] = groups["refused"].max()
    table["error"] = groups["error"].max().map("{:.0e}".format)
    table["trace, s"] = groups["trace_s"].median().round(2)
    table["peak, GB"] = groups["peak_gb"].max()
    table["fixed, and why"] = groups["fixed"].last().map(lambda text: "; ".join(text.split("; ")[:2]))
    return markdown(table.reset_index())


PARTS: dict[Path, dict[str, Callable[[], str]]] = {
    README: {"badges": badges, "notebooks": notebooks, "citation": citation},
    REPOSITORY / "docs" / "methods.md": {"methods": lambda: markdown(matching()[METHOD_COLUMNS])},
    REPOSITORY / "docs" / "install.md": {"colab": colab},
    REPOSITORY / "docs" / "networks.md": {"zoo": zoo_table},
    REPOSITORY / "docs" / "figures" / "README.md": {"figures": figures_table},
}


def generated(text: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """The text with every part between `<!-- begin NAME -->` and `<!-- end NAME -->` made again.

    Parameters
    ----------
    text : str
        Text of the README.
    parts : Mapping[str, Callable[[], str]]
        NAME -> what makes it.

    Raises
    ------
    ValueError
        If a mark is missing.
    """
    for name, make in parts.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        if begin not in text or end not in text:
            raise ValueError(f"the text lacks the marks {begin} and {end}")
        text = f"{text.partition(begin)[0]}{begin}\n{make()}\n{end}{text.partition(end)[2]}"
    return text


def fill(path: Path, parts: Mapping[str, Callable[[], str]]) -> None:
    """Write a file again with every part as `generated` makes it.

    Parameters
    ----------
    path : Path
        The file, with the marks of each part.
    parts : Mapping[str, Callable[[], str]]
        NAME -> what makes it.
    """
    path.write_text(generated(path.read_text(encoding="utf-8"), parts), encoding="utf-8")


def update() -> list[Path]:
    """Write every file of `PARTS` with its parts made again."""
    for path, parts in PARTS.items():
        fill(path, parts)
    return list(PARTS)


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
    (out / "methods").mkdir()
    for name, method in METHODS.items():
        card = findable(pages.card(method), synonyms.get(f"methods/{name}", ()))
        (out / "methods" / f"{name}.md").write_text(card, encoding="utf-8")
    fill(out / "literature.md", {"papers": pages.papers_table})
    fill(out / "published.md", {"numbers": pages.numbers_table})
    fill(out / "methods.md", {"methods": lambda: methods_table() + CONTENTS})
    (out / "methods.md").rename(out / "methods" / "index.md")
    for name in FIGURES:
        page = figure_page(name, out / "_static" / "figures")
        (out / "figures" / f"{name}.md").write_text(page, encoding="utf-8")
    table = (out / "figures" / "README.md").read_text(encoding="utf-8").replace(".png)", ".md)")
    (out / "figures" / "index.md").write_text(table + CONTENTS, encoding="utf-8")


def _write_notebooks(folder: Path, synonyms: dict[str, list[str]]) -> None:
    folder.mkdir()
    files = f"{where.home}/blob/{where.tag}" if (where := address()) else ""
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = for_web(nbformat.read(path, as_version=4), files)
        first = notebook.cells[0]
        first.source = findable(first.source, synonyms.get(f"notebooks/{path.stem}", ()))
        nbformat.write(notebook, folder / path.name)


def methods_table() -> str:
    """The table of methods with filters; each name leads to the method's card."""
    table = matching()[METHOD_COLUMNS]
    table["paper"] = [pages.cite(key) for key in table["paper"].fillna("")]
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
