"""Points for nbgrader: which cells are graded, and that the hidden assertion agrees with the visible check."""

import re

import nbformat
import pytest

from survey_lib.course import classroom
from survey_lib.course.classroom import BEGIN
from survey_lib.course.notebooks import FOLDER

NAMES = [path.stem for path in sorted(FOLDER.glob("*.ipynb"))]


def cells(folder, name):
    return [cell for cell in nbformat.read(folder / f"{name}.ipynb", 4).cells if "nbgrader" in cell.metadata]


@pytest.mark.parametrize("name", NAMES)
def test_every_check_of_a_notebook_gives_a_point(name, tmp_path):
    source = nbformat.read(FOLDER / f"{name}.ipynb", 4).cells
    calls = sum(
        len(re.findall(r"^(?:exercises\.)?check(?:_function|_all)\(", cell.source, re.M))
        for cell in source
        if cell.cell_type == "code"
    )
    assert classroom.with_points(FOLDER / f"{name}.ipynb", tmp_path / name) == calls > 0
    marked = cells(tmp_path / name, name)
    graded = [cell for cell in marked if cell.metadata.nbgrader.grade]
    assert sum(cell.metadata.nbgrader.points for cell in graded) == calls
    assert all(cell.metadata.nbgrader.locked and "BEGIN HIDDEN TESTS" in cell.source for cell in graded)
    solutions = [cell for cell in marked if cell.metadata.nbgrader.solution]
    assert len(solutions) == sum(BEGIN in cell.source for cell in source if cell.cell_type == "code")
    assert len({cell.metadata.nbgrader.grade_id for cell in marked}) == len(marked)


@pytest.mark.parametrize(
    ("answer", "right"), [("return 4", True), ("return 5", False), ("raise NotImplementedError", False)]
)
def test_hidden_assertion_fails_where_the_check_does(answer, right):
    lines = [
        "from survey_lib.course.exercises import check_all",
        "check_all({'one is one': lambda: True})",
        f"def mine():\n    {answer}",
        "check_all({'it is four': lambda: mine() == 4})",
        "check_all({'two is two': lambda: True})",
        classroom.HIDDEN.format(checks=2),
    ]
    if right:
        exec("\n".join(lines), {})
    else:
        with pytest.raises(AssertionError):
            exec("\n".join(lines), {})
