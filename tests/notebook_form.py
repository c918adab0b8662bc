"""What a committed notebook must be: executed, in order, clean, small, and readable on any machine."""

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat

from survey_lib.course.notebooks import METADATA
from survey_lib.course.prose import NUMBER

SIZE_LIMIT = 1_500_000
LINE_LIMIT, ALGORITHM_LIMIT, WIDTH = 15, 45, 88
SETUP = {"parameters", "setup", "install"}  # tags of the only cells that may stand before the theory
BUILT = {"algorithm": "def ", "same-as-library": "assert "}  # tag -> what some cell of it must hold
KEY = re.compile(r"\b[a-z]+(?:19|20)\d\d[a-z]\w*")
LINK = re.compile(r"\]\(([^)\s]+)\)")
NO_PROSE = re.compile(r"\]\([^)]*\)|`[^`]*`|<!--.*?-->|\$[^$]*\$", re.DOTALL)

# What looks like a measurement: a decimal number, or a number with a unit of results.
MEASURED = re.compile(
    rf"(?<![\w.:/§-]){NUMBER}(?=\s?(?:%|percent\b|points?\b|times\b|×|x\b|ms\b|seconds?\b|MB\b|kB\b|nats?\b))"
    r"|(?<![\w.:/§-])[+−-]?\d[\d,]*\.\d+(?![\w.])"
)
VERDICT = re.compile(r"\*\*(better|worse|tie)\*\*(?!<!--=)")  # of a comparison that no finding states
# Parts of Markdown in which numbers are not results: code, formulas, links, pictures, comments, headings.
SILENT = re.compile(
    r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]+\$|\]\([^)]*\)|<!--.*?-->|<[^>]+>|^#.*$",
    re.DOTALL | re.MULTILINE,
)
# The unit of a number, or the rest of a range, and then its comment.
FOLLOWED = re.compile(rf"[^\d\n\0]{{0,20}}(?:(?:to|and|±)\s+{NUMBER}[^\d\n\0]{{0,20}})*\0")


def check(path: Path) -> list[str]:
    """The faults of a notebook, one line each; an empty list for a clean one. No kernel is started."""
    try:
        notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
        nbformat.validate(notebook)
    except (nbformat.ValidationError, nbformat.reader.NotJSONError) as error:
        return [f"not a valid notebook: {str(error).splitlines()[0]}"]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    found = [*_form(path, notebook), *_text(path, notebook.cells), *_order(notebook.cells), *_execution(code)]
    return found + [fault for cell in code for fault in _style(cell)]


def _tags(cell: nbformat.NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", ()))


def _form(path: Path, notebook: nbformat.NotebookNode) -> Iterator[str]:
    cells = notebook.cells
    if notebook.metadata != METADATA:
        yield "metadata is not the normal form; run `survey notebooks run --publish`"
    if not cells or not cells[0].source.startswith("# "):
        yield "the first cell is not a heading `# Title`"
    if not any("](../docs/figures/" in cell.source for cell in cells[:4]):
        yield "no figure of docs/figures stands beside the answer"
    if (size := path.stat().st_size) > SIZE_LIMIT:
        yield f"{size:,} bytes, more than {SIZE_LIMIT:,}: lower the dpi of its figures"
    if (count := sum("parameters" in _tags(cell) for cell in cells)) != 1:
        yield f"{count} cells tagged `parameters`, not one"
    for (
        tag,
        wanted,
    ) in BUILT.items():  # a lesson builds its algorithm, and asserts that the library does the same
        if not any(tag in _tags(cell) and wanted in cell.source for cell in cells):
            yield f"no cell tagged `{tag}` that holds `{wanted.strip()}`"


def _text(path: Path, cells: list[nbformat.NotebookNode]) -> Iterator[str]:
    """Links lead somewhere, papers are cited by their authors, and no measured number is typed by hand."""
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    for number in (number for text in texts for number in uncommented(text)):
        yield f"{number} has no comment that computes it"
    text = "\n".join(texts)
    for key in KEY.findall(NO_PROSE.sub("", text)):
        yield f"cites {key} by its key: write Author (year)"
    targets = {link.partition("#")[0] for link in LINK.findall(text) if "://" not in link}
    for name in sorted(targets):
        if not (path.parent / name).exists():
            yield f"link to {name}, which does not exist"


def uncommented(text: str) -> list[str]:
    """What looks like a measurement or a verdict and is not followed by a comment, or by the rest of a range that is.

    Examples
    --------
    >>> uncommented("It loses 2.3 points, or 5 %<!--= percent(0.05) -->, of $0.5$.")
    ['2.3']
    """
    blank = SILENT.sub(
        lambda part: "\0" * len(part[0]) if part[0].startswith("<!--=") else " " * len(part[0]), text
    )
    measured = [match[0] for match in MEASURED.finditer(blank) if not FOLLOWED.match(blank, match.end())]
    return measured + VERDICT.findall(text)


def _order(cells: list[nbformat.NotebookNode]) -> Iterator[str]:
    """The first code in view comes after the question and the theory, which are two headings."""
    headings = 0
    for index, cell in enumerate(cells):
        if cell.cell_type == "markdown":
            headings += len(re.findall(r"^## ", cell.source, re.M))
        elif headings < 2 and not SETUP & _tags(cell):
            yield f"cell {index} is code before the theory"


def folded(cell: nbformat.NotebookNode) -> bool:
    """Whether a cell's code is hidden until it is opened, in JupyterLab and on the site."""
    return "hide-input" in _tags(cell) and cell.metadata.get("jupyter") == {"source_hidden": True}


def _execution(code: list[nbformat.NotebookNode]) -> Iterator[str]:
    counts = [cell.execution_count for cell in code]
    if counts != list(range(1, len(code) + 1)):
        yield f"code cells were not run once each in order: counts {counts}"
    if not any(cell.outputs for cell in code):
        yield "no cell has an output"


def _style(cell: nbformat.NotebookNode) -> Iterator[str]:
    """One cell of code: it ran, and fits the page where it is in view."""
    name, tags = f"cell [{cell.execution_count}]", _tags(cell)
    if any(output.output_type == "error" for output in cell.outputs):
        yield f"{name} holds an error"
    if folded(cell):
        return
    if "jupyter" in cell.metadata:
        yield f"{name} is hidden and has no tag `hide-input`"
    if SETUP & tags:
        yield f"{name} is set-up that is not folded"
    lines = [line for line in cell.source.splitlines() if line.strip()]
    for line in lines:
        if len(line) > WIDTH:
            yield f"{name} has a line of {len(line)} characters, more than {WIDTH}"
    limit = ALGORITHM_LIMIT if "algorithm" in tags else LINE_LIMIT
    body = [line for line in lines if not line.startswith(("import ", "from "))]
    if len(body) > limit and "solution" not in tags:
        yield f"{name} has {len(body)} lines, more than {limit}"
