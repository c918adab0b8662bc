"""The folder of a class: what students get holds no answer."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner

from survey_lib.cli import main
from survey_lib.course.classroom import BLOCK, course_folder
from survey_lib.course.notebooks import FOLDER

CHOSEN = [FOLDER / "02_weight_pruning.ipynb", FOLDER / "07_filter_pruning.ipynb"]


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("class") / "pruning"
    done = CliRunner().invoke(main, ["class", str(out), "--notebooks", "02,07"])
    assert done.exit_code == 0, done.output
    assert "02_weight_pruning: " in done.output and "points" in done.output
    return out


def test_the_folder_holds_a_course_and_copies_for_students(course):
    assert {path.name for path in course.iterdir()} >= {"source", "student", "nbgrader_config.py"}
    assert 'course_id = "pruning"' in (course / "nbgrader_config.py").read_text()
    for path in CHOSEN:
        assert (course / "source" / path.stem / path.name).is_file()
    assert len(list((course / "student").iterdir())) == 2 + 1  # and the list of what was written


@pytest.mark.parametrize("path", CHOSEN, ids=lambda path: path.stem)
def test_no_answer_is_in_what_students_get(course, path):
    lesson, copy = (
        "\n".join(cell.source for cell in nbformat.read(place, as_version=4).cells)
        for place in (path, course / "student" / path.name)
    )
    answers = [answer for _, answer in BLOCK.findall(lesson)]
    assert len(answers) >= 3 and all(answer not in copy for answer in answers)


def test_a_folder_in_which_somebody_works_is_refused(course):
    (course / "gradebook.db").write_text("grades")
    try:
        with pytest.raises(FileExistsError, match="gradebook.db"):
            course_folder(CHOSEN, course)
    finally:
        (course / "gradebook.db").unlink()


@pytest.mark.skipif(find_spec("nbgrader") is None, reason="nbgrader is not installed")
def test_nbgrader_makes_a_release_without_answers(course):
    for path in CHOSEN:
        command = [sys.executable, "-m", "nbgrader", "generate_assignment", path.stem]
        done = subprocess.run(command, cwd=course, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        text = (course / "release" / path.stem / path.name).read_text()
        assert "BEGIN SOLUTION" not in text and "HIDDEN TESTS" not in text and "NotImplementedError" in text
