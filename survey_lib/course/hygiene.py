"""What a committed notebook must be: executed, in order, clean, small, and readable on any machine."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat

from survey_lib.course.notebooks import METADATA

SIZE_LIMIT = 1_500_000
LINE_LIMIT = 15
LINK = re.compile(r"\]\(([^)\s]+)\)")


def check(path: str | Path) -> list[str]:
    """The faults of a notebook, one line each; an empty list for a clean one. No kernel is started.

    Raises FileNotFoundError for a missing file.
    """
    path = Path(path)
    try:
        notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
        nbformat.validate(notebook)
    except (nbformat.ValidationError, nbformat.reader.NotJSONError) as error:
        return [f"not a valid notebook: {str(error).splitlines()[0]}"]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [*_form(path, notebook), *_execution(code), *_style(code), *_links(path, notebook)]


def _form(path: Path, notebook: nbformat.NotebookNode) -> list[str]:
    faults = []
    if notebook.metadata != METADATA:
        faults.append("metadata is not the normal form; run `survey notebooks run --publish`")
    if not notebook.cells or not notebook.cells[0].source.startswith("# "):
        faults.append("the first cell is not a heading `# Title`")
    if path.stat().st_size > SIZE_LIMIT:
        faults.append(
            f"{path.stat().st_size:,} bytes, more than {SIZE_LIMIT:,}: lower the dpi of its figures"
        )
    tags = [tag for cell in notebook.cells for tag in cell.metadata.get("tags", ())]
    if tags.count("parameters") != 1:
        faults.append(f"{tags.count('parameters')} cells tagged `parameters`, not one")
    if "injected-parameters" in tags:
        faults.append("holds injected parameters: the published run takes none")
    return faults


def _execution(code: list[nbformat.NotebookNode]) -> list[str]:
    faults = []
    counts = [cell.execution_count for cell in code]
    if counts != list(range(1, len(code) + 1)):
        faults.append(f"code cells were not run once each in order: counts {counts}")
    if not any(cell.outputs for cell in code):
        faults.append("no cell has an output")
    for cell in code:
        if any(output.output_type == "error" for output in cell.outputs):
            faults.append(f"cell {cell.execution_count} holds an error")
    return faults


def _style(code: list[nbformat.NotebookNode]) -> list[str]:
    faults = []
    for cell in code:
        lines = [line for line in cell.source.splitlines() if line.strip()]
        if lines and lines[-1].rstrip().endswith(";"):
            faults.append(f"cell {cell.execution_count} ends in `;`: write `_ = ...` or `plt.show()`")
        if len(lines) > LINE_LIMIT and "solution" not in cell.metadata.get("tags", ()):
            faults.append(f"cell {cell.execution_count} has {len(lines)} lines, more than {LINE_LIMIT}")
    return faults


def _links(path: Path, notebook: nbformat.NotebookNode) -> list[str]:
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    targets = {link.partition("#")[0] for link in LINK.findall(text) if "://" not in link}
    missing = sorted(name for name in targets if name and not (path.parent / name).exists())
    return [f"link to {name}, which does not exist" for name in missing]
