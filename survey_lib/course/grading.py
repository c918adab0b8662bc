"""Notebooks with points for nbgrader, which then makes, grades and exports them as any other assignment."""

import ast
from pathlib import Path

import nbformat

from survey_lib.course.exercises import BEGIN
from survey_lib.experiment import files

CHECKS = ("check", "check_function", "check_all")  # each with a `verdict` that does not print
HIDDEN = "### BEGIN HIDDEN TESTS\n{tests}\n### END HIDDEN TESTS"  # left out of what students get
SCHEMA = 3  # of nbgrader's cell metadata


def with_points(path: Path, out: str | Path) -> int:
    """Copy a notebook into a folder with nbgrader's metadata, one point a check.

    A cell with a solution is the student's; a cell that calls a check is graded and locked, and gets the same
    check once more as a hidden assertion, because nbgrader counts errors, not what a cell prints.

    Parameters
    ----------
    path : Path
        The notebook.
    out : str | Path
        Folder of the copy.

    Returns
    -------
    int
        The points.

    Raises
    ------
    ValueError
        For a notebook without checks.
    FileExistsError
        Where somebody else's file would be overwritten.
    """
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    points = sum(_mark(cell, f"{path.stem}-{place}") for place, cell in enumerate(code))
    if not points:
        raise ValueError(f"{path.name} has no cell that calls a check, so there is nothing to grade")
    with files.into(Path(out), [path.name]) as fresh:
        nbformat.write(notebook, fresh / path.name)
    return points


def _mark(cell: nbformat.NotebookNode, name: str) -> int:
    """Write nbgrader's metadata into a cell; the points it gives."""
    tests = assertions(cell.source)
    if BEGIN not in cell.source and not tests:
        return 0
    solution = BEGIN in cell.source
    mark = {"schema_version": SCHEMA, "grade_id": name, "task": False}
    if solution:
        cell.metadata["nbgrader"] = mark | {"solution": True, "locked": False, "grade": False}
        return 0
    cell.metadata["nbgrader"] = mark | {
        "solution": False,
        "locked": True,
        "grade": True,
        "points": len(tests),
    }
    cell.source += "\n" + HIDDEN.format(tests="\n".join(tests))
    return len(tests)


def assertions(source: str) -> list[str]:
    """An assertion for each check in a cell's code.

    Examples
    --------
    >>> assertions("exercises.check(lambda: 2 + 2, 4)")
    ["assert exercises.check.verdict(lambda: 2 + 2, 4) == 'Right.'"]
    """
    calls = [line.value for line in ast.parse(source).body if isinstance(line, ast.Expr)]
    found = []
    for call in (call for call in calls if isinstance(call, ast.Call)):
        name = ast.unparse(call.func)
        if name.removeprefix("exercises.") in CHECKS:
            found.append(f"assert {name}.verdict{ast.unparse(call).removeprefix(name)} == 'Right.'")
    return found
