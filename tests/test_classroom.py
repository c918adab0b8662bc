"""Every check of the course passes in the source; a copy asks for work and runs to its end."""

from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from survey_lib.course.classroom import student
from survey_lib.course.exercises import RIGHT
from survey_lib.course.notebooks import run_all

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
COMMITTED = sorted(NOTEBOOKS.glob("*.ipynb"))
NOT_YET = "Not yet"


def verdicts(path: Path) -> list[str]:
    """What the check cells of an executed notebook printed, in order."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    lines = [
        line for cell in cells for output in cell.outputs for line in output.get("text", "").splitlines()
    ]
    return [word for line in lines for word in (RIGHT, NOT_YET) if line.startswith(word)]


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_the_solutions_of_a_notebook_pass_their_checks(path):
    found = verdicts(path)
    assert len(found) >= 1 and set(found) == {RIGHT}


LESSON = [
    ("from survey_lib.course.exercises import check_all", ""),
    ("def double(x):\n    # BEGIN SOLUTION\n    return 2 * x\n    # END SOLUTION", ""),
    ("check_all({'two': lambda: double(2) == 4})", "Right.\n"),
    ("check_all({'ten': lambda: 10 - double(2) == 6})\nprint('the end')", "Right.\nthe end\n"),
]


@pytest.mark.filterwarnings("ignore")
def test_a_copy_without_solutions_asks_for_work_and_runs_to_its_end(tmp_path):
    cells = [new_code_cell(source) for source, _ in LESSON]
    for cell, (_, text) in zip(cells, LESSON, strict=True):
        cell.outputs = [new_output("stream", text=text)] if text else []
    (tmp_path / "course").mkdir()
    nbformat.write(new_notebook(cells=cells), tmp_path / "course" / "lesson.ipynb")
    copies = student((tmp_path / "course").glob("*.ipynb"), tmp_path / "copies")
    assert copies == [tmp_path / "copies" / "lesson.ipynb"]
    (run,) = run_all(copies, {}, tmp_path / "tried")
    assert not run.failure and verdicts(run.out) == [NOT_YET] * 2
