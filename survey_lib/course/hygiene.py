"""What a committed notebook must be: executed, in order, clean, small, and readable on any machine."""

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat

from survey_lib.course.notebooks import METADATA, folded

SIZE_LIMIT = 1_500_000
LINE_LIMIT, ALGORITHM_LIMIT, WIDTH = 15, 45, 88
FOLDED = ("parameters", "setup", "install")  # tags of the only cells that may stand before the theory
GENERATED = re.compile(r"\b(?:Markdown|say|claim)\(")
KEY = re.compile(r"\b[a-z]+(?:19|20)\d\d[a-z]\w*")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def check(path: str | Path) -> list[str]:
    """The faults of a notebook, one line each; an empty list for a clean one. No kernel is started.

    Raises
    ------
    FileNotFoundError
        For a missing file.
    """
    path = Path(path)
    try:
        notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
        nbformat.validate(notebook)
    except (nbformat.ValidationError, nbformat.reader.NotJSONError) as error:
        return [f"not a valid notebook: {str(error).splitlines()[0]}"]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    lesson = [*_lesson(notebook.cells), *_algorithm(code)] if is_lesson(notebook) else []
    return [*_form(path, notebook), *_execution(code), *_style(code), *_links(path, notebook), *lesson]


def is_lesson(notebook: nbformat.NotebookNode) -> bool:
    """Whether a notebook has the form of the second edition: its parameters are folded."""
    return any(folded(cell) for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))


def _lesson(cells: list[nbformat.NotebookNode]) -> Iterator[str]:
    """A lesson opens with text and a picture, its set-up is folded, its text is written and cites authors by name."""
    headings = 0
    for index, cell in enumerate(cells):
        setup = set(FOLDED) & set(cell.metadata.get("tags", ()))
        if cell.cell_type == "markdown":
            headings += len(re.findall(r"^## ", cell.source, re.M))
            prose = re.sub(r"\]\([^)]*\)|`[^`]*`|<!--.*?-->|\$[^$]*\$", "", cell.source, flags=re.DOTALL)
            yield from (
                f"cell {index} cites {key} by its key: write Author (year)" for key in KEY.findall(prose)
            )
            continue
        if setup and not folded(cell):
            yield f"cell {index} is set-up that is not folded"
        if headings < 2 and not setup:
            yield f"cell {index} is code before the theory"
        if ".to_string(" in cell.source or "interactive(children" in str(cell.outputs):
            yield f"cell {index} shows a table as text, or a widget: show the frame, or use lesson.slider"
        if GENERATED.search(cell.source):
            yield f"cell {index} generates prose: write it as text with computed numbers"
        for line in () if folded(cell) else cell.source.splitlines():
            if len(line) > WIDTH:
                yield f"cell {index}, a line of {len(line)} characters, more than {WIDTH}"
    if not any("](../docs/figures/" in cell.source for cell in cells[:4]):
        yield "no figure of docs/figures stands beside the answer"


def _algorithm(code: list[nbformat.NotebookNode]) -> Iterator[str]:
    """A lesson builds its algorithm in view, and asserts that the library does the same."""
    for tag, wanted in (("algorithm", "def "), ("same-as-library", "assert ")):
        if not any(tag in cell.metadata.get("tags", ()) and wanted in cell.source for cell in code):
            yield f"no cell tagged `{tag}` that holds `{wanted.strip()}`"


def _form(path: Path, notebook: nbformat.NotebookNode) -> Iterator[str]:
    if notebook.metadata != METADATA:
        yield "metadata is not the normal form; run `survey notebooks run --publish`"
    if not notebook.cells or not notebook.cells[0].source.startswith("# "):
        yield "the first cell is not a heading `# Title`"
    if (size := path.stat().st_size) > SIZE_LIMIT:
        yield f"{size:,} bytes, more than {SIZE_LIMIT:,}: lower the dpi of its figures"
    tags = [tag for cell in notebook.cells for tag in cell.metadata.get("tags", ())]
    if tags.count("parameters") != 1:
        yield f"{tags.count('parameters')} cells tagged `parameters`, not one"
    if "injected-parameters" in tags:
        yield "holds injected parameters: the published run takes none"


def _execution(code: list[nbformat.NotebookNode]) -> Iterator[str]:
    counts = [cell.execution_count for cell in code]
    if counts != list(range(1, len(code) + 1)):
        yield f"code cells were not run once each in order: counts {counts}"
    if not any(cell.outputs for cell in code):
        yield "no cell has an output"
    for cell in code:
        if any(output.output_type == "error" for output in cell.outputs):
            yield f"cell {cell.execution_count} holds an error"


def _style(code: list[nbformat.NotebookNode]) -> Iterator[str]:
    for cell in code:
        lines = [line for line in cell.source.splitlines() if line.strip()]
        if lines and lines[-1].rstrip().endswith(";"):
            yield f"cell {cell.execution_count} ends in `;`: write `_ = ...` or `plt.show()`"
        limit = ALGORITHM_LIMIT if "algorithm" in cell.metadata.get("tags", ()) else LINE_LIMIT
        body = [line for line in lines if not line.startswith(("import ", "from "))]
        if len(body) > limit and not folded(cell) and "solution" not in cell.metadata.get("tags", ()):
            yield f"cell {cell.execution_count} has {len(body)} lines, more than {limit}"


def _links(path: Path, notebook: nbformat.NotebookNode) -> list[str]:
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    targets = {link.partition("#")[0] for link in LINK.findall(text) if "://" not in link}
    missing = sorted(name for name in targets if name and not (path.parent / name).exists())
    return [f"link to {name}, which does not exist" for name in missing]
