"""Notebooks as pages of the site: the committed ones with links that work there and solutions folded away."""

from __future__ import annotations

import re

import nbformat

from survey_lib.publish.docstrings import KEY
from survey_lib.publish.exercises import BEGIN
from survey_lib.publish.literature_pages import cite

OUTSIDE = re.compile(r"\]\(\.\./([^)\s]+)\)")
CODED = re.compile(r"`([a-z]+[12]\d{3}[a-z0-9]+)`")


def for_web(notebook: nbformat.NotebookNode, files: str) -> nbformat.NotebookNode:
    """The notebook as the site shows it; what it says is not changed.

    Keys of papers lead to the references, links to files of the repository to `files`; cells with a solution
    are folded; a picture is described by the heading it stands under.
    """
    heading = ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = ([line for line in cell.source.splitlines() if line.startswith("#")] or [heading])[-1]
            cell.source = _linked(OUTSIDE.sub(rf"]({files}/\1)", cell.source))
        elif cell.cell_type == "code":
            _dress(cell, heading.lstrip("# "))
    return notebook


def _linked(text: str) -> str:
    """Keys as links, outside of fenced code."""
    parts = text.split("```")
    for place in range(0, len(parts), 2):
        plain = CODED.sub(
            lambda found: cite(found.group(1)) if "<a" in cite(found.group(1)) else found.group(),
            parts[place],
        )
        parts[place] = re.sub(rf"(?<![#/>-]){KEY.pattern}(?![<\"])", lambda found: cite(found.group()), plain)
    return "```".join(parts)


def _dress(cell: nbformat.NotebookNode, heading: str) -> None:
    tags = cell.metadata.get("tags", [])
    if BEGIN in cell.source or "solution" in tags:
        cell.metadata["tags"] = [*tags, "hide-input"]
    if any("image/png" in output.get("data", {}) for output in cell.get("outputs", ())):
        cell.metadata["mystnb"] = {"image": {"alt": f"Figure: {heading}"}} | cell.metadata.get("mystnb", {})
