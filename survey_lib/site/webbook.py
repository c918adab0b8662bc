"""Notebooks as pages of the site: the committed ones with links that work there and solutions folded away."""

import re

import nbformat

from survey_lib.course.classroom import BEGIN

PICTURE = re.compile(r"!\[([^\]]+)\]\(\.\./docs/figures/([^)\s]+)\.png\)")
OUTSIDE = re.compile(r"(?<!!)\[([^\]]+)\]\(\.\./([^)\s]+)\)")


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
            continue
        tags = cell.metadata.get("tags", [])
        shown = {"image": {"alt": f"Figure: {heading.lstrip('# ')}"}}
        if BEGIN in cell.source or "solution" in tags:
            cell.metadata["tags"] = [*tags, "hide-input"]
            shown["code_prompt_show"] = "Show the solution"
        cell.metadata["mystnb"] = shown
    return notebook
