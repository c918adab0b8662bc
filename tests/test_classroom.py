"""Every check of the course passes in the source; a copy asks for work and runs to its end."""

from pathlib import Path

import pytest

from survey_lib.course.classroom import NOT_YET, RIGHT, tried, verdicts
from survey_lib.course.exercises import student

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
COMMITTED = sorted(NOTEBOOKS.glob("*.ipynb"))


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_the_solutions_of_a_notebook_pass_their_checks(path):
    found = verdicts(path)
    assert len(found) >= 1 and set(found) == {RIGHT}


@pytest.mark.filterwarnings("ignore")
def test_a_copy_without_solutions_asks_for_work(tmp_path):
    # one that trains nothing; `survey student OUT --check` runs them all
    copies = [path for path in student(NOTEBOOKS, tmp_path) if path.stem == "18_literature"]
    table = tried(NOTEBOOKS, copies)
    assert table["good"].all() and table["checks"].sum() == len(verdicts(NOTEBOOKS / copies[0].name))
    assert verdicts(tmp_path / "tried" / copies[0].name) == [NOT_YET] * table["checks"].sum()
