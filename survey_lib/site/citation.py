"""How the project is cited: CITATION.cff, .zenodo.json and BibTeX, all from pyproject.toml."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

import survey_lib
from survey_lib.analysis.address import address, project, released
from survey_lib.analysis.literature import entry
from survey_lib.experiment.data.sources import REPOSITORY

TITLE = "survey_lib: neural network pruning from formula to measured time"
ABSTRACT = (
    "A course and library on neural network pruning: each method derived, written from scratch, run from the library "
    "and compared under one protocol, with results, figures and notebooks that can be made again by one command."
)
KEYWORDS = ["neural network pruning", "sparsity", "model compression", "reproducibility", "teaching"]
SURVEY = {
    "type": "article",
    "title": "A Survey on Pruning Algorithm Based on Optimized Depth Neural Network",
    "authors": [
        {"given-names": "Qidi", "family-names": "Song"},
        {"given-names": "Xuanze", "family-names": "Xia"},
    ],
    "journal": "International Journal of Computer and Communication Engineering",
    "volume": 11,
    "issue": 2,
    "start": 10,
    "end": 23,
    "year": 2022,
    "doi": "10.17706/IJCCE.2022.11.2.10-23",
    "notes": "The survey this course accompanies.",
}


def authors() -> list[str]:
    """Names of the authors, from pyproject.toml."""
    return [author["name"] for author in project()["authors"]]


def cff() -> str:
    """The text of CITATION.cff."""
    where = address()
    fields = {
        "cff-version": "1.2.0",
        "message": "If you use the course, the library or a figure, please cite it; `survey cite NAME` cites one figure.",
        "type": "software",
        "title": TITLE,
        "abstract": ABSTRACT,
        "version": survey_lib.__version__,
        "license": ["MIT", "CC-BY-4.0"],
        "authors": [{"name": name} for name in authors()],
        "keywords": KEYWORDS,
    }
    if where:
        fields |= {"repository-code": where.home, "url": where.home, "date-released": released()}
    return yaml.safe_dump(fields | {"references": [SURVEY]}, sort_keys=False, allow_unicode=True, width=110)


def zenodo() -> str:
    """The text of .zenodo.json."""
    fields = {
        "title": TITLE,
        "description": ABSTRACT,
        "upload_type": "software",
        "version": survey_lib.__version__,
        "license": "MIT",
        "creators": [{"name": name} for name in authors()],
        "keywords": KEYWORDS,
        "related_identifiers": [{"identifier": SURVEY["doi"], "relation": "isSupplementTo", "scheme": "doi"}],
    }
    return json.dumps(fields, indent=2) + "\n"


def bibtex() -> str:
    """The project as BibTeX."""
    where = address()
    fields = {
        "title": f"{{{TITLE}}}",
        "author": " and ".join(f"{{{name}}}" for name in authors()),
        "version": survey_lib.__version__,
    }
    if where:
        fields |= {"year": released()[:4], "url": where.home}
    return entry("software", "survey_lib", fields)


def write() -> list[Path]:
    """Write CITATION.cff and .zenodo.json."""
    texts = {"CITATION.cff": cff(), ".zenodo.json": zenodo()}
    for name, text in texts.items():
        (REPOSITORY / name).write_text(text, encoding="utf-8")
    return [REPOSITORY / name for name in texts]
