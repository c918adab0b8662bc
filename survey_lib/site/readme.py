"""The generated parts of README.md and of the tables in docs/."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import nbformat
import pandas as pd

from survey_lib.analysis.address import about, address
from survey_lib.analysis.literature import entry
from survey_lib.analysis.tables import markdown, matching
from survey_lib.course.notebooks import FOLDER
from survey_lib.experiment.data.sources import REPOSITORY
from survey_lib.figures.catalogue import FIGURES

README = REPOSITORY / "README.md"
METHOD_COLUMNS = ["method", "category", "when", "cost", "what it does", "paper", "notebook"]


def badges() -> str:
    """Links that launch the course, once it has an address."""
    where = address()
    if not where:
        return ""
    launch = [f"[Open in {service}]({url})" for service, url in where.launches("00_start_here").items()]
    return " · ".join([f"[{where.name} {where.tag}]({where.home})", *launch])


def notebooks() -> str:
    """One row a notebook: name and question."""
    rows = map(asks, sorted(FOLDER.glob("*.ipynb")))
    return markdown(pd.DataFrame(rows, columns=["notebook", "asks"]))


def asks(path: Path) -> tuple[str, str]:
    """Title of a notebook, which leads to it, and its question.

    The title is the first heading. The question is what is bold, or else the first question, after a heading that
    has the word in it.
    """
    cells = nbformat.read(path, as_version=4).cells
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    title = text.lstrip("# ").partition("\n")[0]
    after = re.split(r"^#+ .*[Qq]uestion.*$", text, maxsplit=1, flags=re.MULTILINE)[-1].strip()
    found = re.match(r"\*\*(.+?)\*\*", after, re.DOTALL) or re.search(r"([^.?!]*\?)", after)
    return f"[{title}](notebooks/{path.name})", " ".join(found[1].split())


def colab() -> str:
    """The cell that fetches the course on Colab, once there is an address."""
    where = address()
    if not where:
        return "The repository has no address yet: with `repository-code` in CITATION.cff `survey generate` writes it here."
    lines = [f"!{command}" for command in where.colab_setup()]
    return "\n".join(["```text", *lines, f"%cd {where.name.partition('/')[2]}/notebooks", "```"])


def bibtex() -> str:
    """The project as BibTeX."""
    said = about()
    fields = {
        "title": f"{{{said['title']}}}",
        "author": " and ".join(f"{{{author['name']}}}" for author in said["authors"]),
        "version": said["version"],
        "year": f"{said.get('date-released', '')}"[:4],
        "url": said.get("repository-code", ""),
    }
    return entry("software", "survey_lib", fields)


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
    README: {
        "badges": badges,
        "notebooks": notebooks,
        "citation": lambda: f"```bibtex\n{bibtex()}\n```",
    },
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


def update() -> list[Path]:
    """Write every file of `PARTS` with its parts made again."""
    for path, parts in PARTS.items():
        path.write_text(generated(path.read_text(encoding="utf-8"), parts), encoding="utf-8")
    return list(PARTS)
