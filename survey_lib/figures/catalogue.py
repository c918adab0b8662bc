"""Figures that can be made again by name, and cited: those of catalogue.yaml, with titles computed from their data."""

import hashlib
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name

import matplotlib.pyplot as plt
import yaml

from survey_lib.analysis import literature
from survey_lib.analysis.address import about, address
from survey_lib.analysis.tables import finished
from survey_lib.charts.export import Drawing, save_figure
from survey_lib.charts.plots import headline, house_style
from survey_lib.lookup import known
from survey_lib.repository import REPOSITORY, needed

THUMBNAILS = REPOSITORY / "docs" / "figures"


@dataclass(frozen=True)
class Entry:
    """What a figure asks, how it is drawn, its caption, which notebook explains it, and whose runs it shows."""

    asks: str
    draw: Callable[..., Drawing]
    caption: str
    notebook: str
    study: str = ""


def _read() -> dict[str, Entry]:
    table = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    functions = {name: resolve_name(f"survey_lib.figures.{row['draw']}") for name, row in table.items()}
    return {name: Entry(**row | {"draw": functions[name]}) for name, row in table.items()}


FIGURES = _read()


def figure(name: str, out: str | Path = "figures", profile: str = "published", study: str = "") -> list[Path]:
    """Draw a figure of the catalogue from the store and save it with its data sheet.

    Parameters
    ----------
    name : str
        Name of the figure.
    out : str | Path, default 'figures'
        Folder of the files.
    profile : str, default 'published'
        published, quick or full.
    study : str, default ''
        Another study than the figure's own, for a figure that has one.

    Returns
    -------
    list[Path]
        The files.

    Raises
    ------
    ValueError
        For an unknown name; the text lists near matches.
    """
    entry = find(name)
    study = study or entry.study
    drawing, keys = drawn(name, profile, study)
    caption = f"{entry.caption.format(**drawing.about)} {drawing.says}."
    try:
        return save_figure(drawing, name, caption, out, run_keys=keys, study=study, profile=profile)
    finally:
        plt.close(drawing.figure)


def drawn(name: str, profile: str = "published", study: str = "") -> tuple[Drawing, list[str]]:
    """A figure of the catalogue under its title, and the keys of the runs it was drawn from.

    Parameters
    ----------
    name : str
        Name of the figure.
    profile : str, default 'published'
        published, quick or full.
    study : str, default ''
        Another study than the figure's own, for a figure that has one.
    """
    entry = find(name)
    house_style()
    runs = []
    if entry.study:
        live = profile != "published"
        runs = [finished(study or entry.study, local=live, profile=profile if live else None)]
    drawing = entry.draw(*runs)
    headline(drawing.figure, drawing.says)
    return drawing, sorted(key for table in runs for key in table["key"])


def thumbnails() -> list[Path]:
    """Small pictures of every figure, which the README shows; the paths written."""
    paths = [THUMBNAILS / f"{name}.png" for name in FIGURES]
    for path in paths:
        picture = drawn(path.stem)[0].figure
        picture.savefig(path, dpi=100, metadata={"Software": None})
        plt.close(picture)
    return paths


def find(name: str) -> Entry:
    """The entry of this name in the catalogue of figures."""
    return FIGURES[known("figure", name, FIGURES)]


def cite(name: str) -> str:
    """BibTeX of a figure of the catalogue, or of a paper of the literature data.

    A figure is cited as it was published: the commit, the sha256 and the address of docs/figures/NAME.png.

    Examples
    --------
    >>> print(cite("taxonomy").splitlines()[0])
    @misc{survey_lib:taxonomy,
    """
    papers = literature.papers().index
    if known("figure or paper", name, [*FIGURES, *papers]) not in FIGURES:
        return literature.bibtex(name)
    picture = needed(THUMBNAILS / f"{name}.png")
    git = ["git", "-C", str(THUMBNAILS), "log", "-1", "--format=%H %cs", "--", picture.name]
    commit, _, date = subprocess.run(git, capture_output=True, text=True).stdout.strip().partition(" ")
    if not commit:
        raise ValueError(f"docs/figures/{name}.png, by which it is cited, is in no commit of a repository")
    digest = hashlib.sha256(picture.read_bytes()).hexdigest()
    fields = {
        "title": f"{{{find(name).asks}}}",
        "author": " and ".join(f"{{{author['name']}}}" for author in about()["authors"]),
        "year": date[:4],
        "howpublished": f"Figure \\texttt{{{name}}} of survey\\_lib, notebook {find(name).notebook}",
        "note": f"CC BY 4.0; published in commit {commit}; sha256 {digest}",
    }
    if where := address():
        fields["url"] = f"{where.home}/blob/{commit}/docs/figures/{name}.png"
    return literature.entry("misc", f"survey_lib:{name}", fields)
