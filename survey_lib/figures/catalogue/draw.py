"""Figures that can be made again by name, and cited."""

from __future__ import annotations

import difflib
import importlib.metadata
from pathlib import Path

import matplotlib.pyplot as plt

from survey_lib.analysis import literature
from survey_lib.analysis.tables import finished
from survey_lib.charts.export import Drawing, save_figure
from survey_lib.charts.plots import house_style
from survey_lib.experiment.commit import commit
from survey_lib.figures.catalogue.entries import FIGURES, Entry

THUMBNAILS = Path(__file__).parents[3] / "docs" / "figures"


def figure(name: str, out: str | Path = "figures", profile: str = "published") -> list[Path]:
    """Draw a figure of the catalogue from the store and save it with its data sheet; the paths written.

    Raises ValueError that lists near matches for an unknown name.
    """
    drawing, keys = drawn(name, profile)
    try:
        return save_figure(drawing, name, out, study=find(name).study, profile=profile, keys=keys)
    finally:
        plt.close(drawing.figure)


def drawn(name: str, profile: str = "published") -> tuple[Drawing, list[str]]:
    """A figure of the catalogue, and the keys of the runs it was drawn from."""
    entry = find(name)
    house_style()
    if not entry.study:
        return entry.draw(), []
    live = profile != "published"
    results = finished(entry.study, local=live, profile=profile if live else None)
    return entry.draw(results), sorted(results["key"])


def thumbnails(folder: Path = THUMBNAILS) -> list[Path]:
    """Small pictures of every figure, which the README shows; the paths written."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.png" for name in FIGURES}
    for name, path in paths.items():
        picture = drawn(name)[0].figure
        picture.savefig(path, dpi=100, metadata={"Software": None})
        plt.close(picture)
    return list(paths.values())


def find(name: str) -> Entry:
    """The entry of this name in the catalogue of figures."""
    if name not in FIGURES:
        near = difflib.get_close_matches(name, FIGURES, 4, 0.4) or list(FIGURES)
        raise ValueError(f"no figure {name!r}; near: {', '.join(near)}. README.md lists all")
    return FIGURES[name]


def cite(name: str) -> str:
    """BibTeX of a figure of the catalogue, or of a paper of the literature data.

    >>> print(cite("taxonomy").splitlines()[0])
    @misc{survey_lib:taxonomy,
    """
    if name not in FIGURES and name in literature.papers().index:
        return literature.bibtex(name)
    entry, version = find(name), importlib.metadata.version("survey_lib")
    fields = {
        "title": f"{{{entry.question}}}",
        "author": "{The survey_lib maintainers}",
        "year": "2026",
        "howpublished": f"Figure \\texttt{{{name}}} of survey\\_lib {version}, notebook {entry.notebook}",
        "note": f"CC BY 4.0; made by \\texttt{{survey figure {name}}} at commit {commit()}",
    }
    lines = [f"  {field} = {{{value}}}," for field, value in fields.items()]
    return "\n".join([f"@misc{{survey_lib:{name},", *lines, "}"])
