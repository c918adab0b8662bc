"""Notebooks for a class: copies without solutions, and nbgrader's source and configuration."""

import re
from collections.abc import Iterable
from pathlib import Path

import nbformat

from survey_lib.experiment import files

BEGIN, END = "# BEGIN SOLUTION", "# END SOLUTION"
BLOCK = re.compile(rf"^([ \t]*){BEGIN}[ \t]*\n(.*?)^[ \t]*{END}[ \t]*$", re.MULTILINE | re.DOTALL)
PLACEHOLDER = r"\1# YOUR CODE HERE" + "\n" + r"\1raise NotImplementedError"
CHECK = re.compile(r"^(?:exercises\.)?check_(?:function|all)\(", re.MULTILINE)
# Left out of what students get. nbgrader counts errors, not what a cell prints.
HIDDEN = """
### BEGIN HIDDEN TESTS
from survey_lib.course.exercises import all_right

assert all_right({checks})
### END HIDDEN TESTS"""
SCHEMA = 3  # of nbgrader's cell metadata
CONFIG = """c = get_config()
c.CourseDirectory.course_id = "{name}"
c.ExecutePreprocessor.timeout = 600
c.ClearSolutions.code_stub = {{"python": "# YOUR CODE HERE\\nraise NotImplementedError"}}
"""


def student(notebooks: Iterable[Path], out: Path) -> list[Path]:
    """Copy notebooks without solutions and outputs; the paths written.

    Code between `# BEGIN SOLUTION` and `# END SOLUTION` becomes a place to write in; cells tagged
    `solution-only` are left out.

    Parameters
    ----------
    notebooks : Iterable[Path]
        The notebooks.
    out : Path
        Folder of the copies.

    Raises
    ------
    ValueError
        Before any file is written, for an unpaired mark.
    FileExistsError
        Before any file is written, for a notebook in the way that somebody has worked on.
    """
    stripped = {path.name: _without_solutions(path) for path in notebooks}
    with files.into(out) as fresh:
        for name, notebook in stripped.items():
            nbformat.write(notebook, fresh / name)
    return [out / name for name in stripped]


def _without_solutions(path: Path) -> nbformat.NotebookNode:
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if "solution-only" not in cell.metadata.get("tags", ())]
    for cell in [cell for cell in notebook.cells if cell.cell_type == "code"]:
        cell.source = BLOCK.sub(PLACEHOLDER, cell.source)
        if BEGIN in cell.source or END in cell.source:
            raise ValueError(f"{path.name}: {BEGIN} and {END} must come in pairs, on own lines")
        cell.outputs, cell.execution_count = [], None
    return notebook


def course_folder(notebooks: list[Path], out: Path) -> dict[str, int]:
    """Write a course into the folder `out`, named after it; the points of each notebook.

    * source/NAME/NAME.ipynb: what nbgrader reads: metadata, one point a check, hidden assertions

    * nbgrader_config.py: its settings; run `nbgrader` in this folder

    * student/: copies without solutions, for a class without nbgrader

    Parameters
    ----------
    notebooks : list[Path]
        Notebooks of the course.
    out : Path
        Folder of the files.

    Raises
    ------
    FileExistsError
        Before any work, for a folder that holds anything of another hand.
    """
    with files.into(out, alone=True) as fresh:
        points = {path.stem: with_points(path, fresh / "source" / path.stem) for path in notebooks}
        student(notebooks, fresh / "student")
        (fresh / "nbgrader_config.py").write_text(CONFIG.format(name=out.name), encoding="utf-8")
    return points


def with_points(path: Path, out: Path) -> int:
    """Copy a notebook into a new folder with nbgrader's metadata, one point a check; the points.

    A cell with a solution is the student's. A cell that calls a check is graded and locked, and ends with a
    hidden assertion that its checks came out right.

    Parameters
    ----------
    path : Path
        The notebook.
    out : Path
        Folder of the copy.
    """
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    points = sum(_mark(cell, f"{path.stem}-{place}") for place, cell in enumerate(code))
    out.mkdir(parents=True)
    nbformat.write(notebook, out / path.name)
    return points


def _mark(cell: nbformat.NotebookNode, name: str) -> int:
    """Write nbgrader's metadata into a cell; the points it gives."""
    solution, checks = BEGIN in cell.source, len(CHECK.findall(cell.source))
    if not (solution or checks):
        return 0
    mark = {"schema_version": SCHEMA, "grade_id": name, "task": False}
    mark |= {"solution": solution, "locked": not solution, "grade": not solution}
    if not solution:
        mark["points"] = checks
        cell.source += HIDDEN.format(checks=checks)
    cell.metadata["nbgrader"] = mark
    return mark.get("points", 0)
