"""Notebooks as pages of the site: the committed ones with links that work there and solutions folded away."""

import re

import nbformat

from survey_lib.course.classroom import BEGIN

PICTURE = re.compile(r"!\[([^\]]+)\]\(\.\./docs/figures/([^)\s]+)\.png\)")
OUTSIDE = re.compile(r"(?<!!)\[([^\]]+)\]\(\.\./([^)\s]+)\)")
NOTEBOOK = re.compile(r"\]\((\d\d_\w+)\.ipynb")


def for_web(notebook: nbformat.NotebookNode, files: str) -> nbformat.NotebookNode:
    """The notebook as the site shows it; what it says is not changed.

    Pictures of the catalogue lead to their pages; cells with a solution are folded; a picture is described by the
    heading above it.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        A committed notebook.
    files : str
        Address of the repository's files; links to them are left out where it is empty.
    """
    heading = ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = ([line for line in cell.source.splitlines() if line.startswith("#")] or [heading])[-1]
            text = OUTSIDE.sub(rf"[\1]({files}/\2)" if files else r"\1", cell.source)
            cell.source = PICTURE.sub(r"[![\1](../figures/\2.png)](../figures/\2.md)", text)
        elif cell.cell_type == "code":
            _dress(cell, heading.lstrip("# "))
    return notebook


def _dress(cell: nbformat.NotebookNode, heading: str) -> None:
    tags = cell.metadata.get("tags", [])
    if BEGIN in cell.source or "solution" in tags:
        cell.metadata["tags"] = [*tags, "hide-input"]
        cell.metadata["mystnb"] = {"code_prompt_show": "Show the solution"}
    for data in (output.get("data", {}) for output in cell.get("outputs", ())):
        if "text/markdown" in data:  # text that was computed: Sphinx resolves links of written text only
            data["text/markdown"] = NOTEBOOK.sub(r"](\1.html", data["text/markdown"])
        if "image/png" in data:
            alt = {"image": {"alt": f"Figure: {heading}"}}
            cell.metadata["mystnb"] = alt | cell.metadata.get("mystnb", {})
