"""Exercises that check themselves, and copies of the notebooks without their solutions."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import numpy as np

from survey_lib.experiment.sweeps import files

BEGIN, END = "# BEGIN SOLUTION", "# END SOLUTION"
BLOCK = re.compile(rf"^([ \t]*){BEGIN}[ \t]*\n(.*?)^[ \t]*{END}[ \t]*$", re.MULTILINE | re.DOTALL)
PLACEHOLDER = r"\1# YOUR CODE HERE" + "\n" + r"\1raise NotImplementedError"


def student(source: str | Path, out: str | Path) -> list[Path]:
    """Copy the notebooks of a folder without solutions and outputs; the paths written.

    Code between `# BEGIN SOLUTION` and `# END SOLUTION` becomes a place to write in; cells tagged
    `solution-only` are left out. Raises, before any file is written, ValueError for an unpaired mark and
    FileExistsError for a notebook in the way that somebody has worked on.
    """
    source, out = Path(source), Path(out)
    paths = sorted(source.glob("*.ipynb"))
    if not paths:
        raise FileNotFoundError(f"no notebooks in {source.resolve()}")
    stripped = {path.name: _without_solutions(nbformat.read(path, as_version=4), path.name) for path in paths}
    with files.into(out) as fresh:
        for name, notebook in stripped.items():
            nbformat.write(notebook, fresh / name)
    return [out / name for name in stripped]


def _without_solutions(notebook: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    notebook.cells = [cell for cell in notebook.cells if "solution-only" not in cell.metadata.get("tags", ())]
    for cell in [cell for cell in notebook.cells if cell.cell_type == "code"]:
        cell.source = BLOCK.sub(PLACEHOLDER, cell.source)
        if BEGIN in cell.source or END in cell.source:
            raise ValueError(
                f"{name}, cell {cell.get('id', '?')}: {BEGIN} and {END} must come in pairs, on own lines"
            )
        cell.outputs, cell.execution_count = [], None
    return notebook


def check(answer: Callable[[], object], expected: object, hint: str = "", tolerance: float = 1e-6) -> None:
    """Call an answer and print whether it is right, and what was expected; an exception is told, not raised.

    Numbers, arrays and tensors are compared within `tolerance`, all else by equality.

    >>> check(lambda: 2 + 2, 4)
    Right.
    >>> check(lambda: [1, 3], [1, 2], hint="count from the left")
    Not yet: got [1, 3], expected [1, 2]. Hint: count from the left.
    """
    print(verdict(answer, expected, hint, tolerance))


def verdict(answer: Callable[[], object], expected: object, hint: str = "", tolerance: float = 1e-6) -> str:
    """The line that `check` prints."""
    advice = f" Hint: {hint}." if hint else ""
    try:
        got = answer()
    except NotImplementedError:
        return f"Not yet: replace `raise NotImplementedError` with your code.{advice}"
    except Exception as error:
        return f"Not yet: your code raised {type(error).__name__}: {error}.{advice}"
    got = got.detach() if hasattr(got, "detach") else got  # tensors that still carry gradients
    if got is None:
        return f"Not yet: your function returned nothing; does it end in `return`?{advice}"
    return (
        "Right."
        if _same(got, expected, tolerance)
        else f"Not yet: got {_short(got)}, expected {_short(expected)}.{advice}"
    )


def _same(got: object, expected: object, tolerance: float) -> bool:
    if isinstance(expected, str | set | dict):
        return got == expected
    try:
        first, second = np.asarray(got, dtype=float), np.asarray(expected, dtype=float)
    except (TypeError, ValueError):
        return got == expected
    return first.shape == second.shape and np.allclose(
        first, second, rtol=tolerance, atol=tolerance, equal_nan=True
    )


def _short(value: object, limit: int = 120) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= limit else text[:limit] + "..."
