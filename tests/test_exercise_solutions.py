"""The checks of the exercises accept every right solution tried; they refuse constants, the commonest wrong ones and
what students get, and none of them stops the notebook.

The solutions of notebook NN are in tests/exercises/NN.yaml: exercise -> right, wrong -> list of code. An exercise is
named by the function that its solution defines. Its check may use names of the set-up cells, of cells tagged
`algorithm` or `exercise-setup`, and of the solution itself.
"""

import contextlib
import io
import re
from functools import cache
from pathlib import Path

import matplotlib
import nbformat
import pytest
import yaml

from survey_lib.catalogue import METHODS
from survey_lib.course.classroom import BEGIN, BLOCK, CHECK, PLACEHOLDER
from survey_lib.course.notebooks import FOLDER

SHARED = {"parameters", "setup", "algorithm", "exercise-setup"}
CONSTANTS = ("return 0", "return 1.0", "return True", "return []", "return args[0] if args else None")


@pytest.fixture(autouse=True, scope="module")
def methods_as_they_were():
    """The catalogue of other tests has no method that a solution registers."""
    before = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(before)


def lessons():
    return sorted(FOLDER.glob("*.ipynb"))


@cache
def exercises(path):
    """Exercise -> its solution as committed and the code of its check."""
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    found = {}
    for solution, check in zip(code, code[1:], strict=False):
        if BEGIN in solution.source and CHECK.search(check.source):
            name = re.findall(r"^(?:def|class) (\w+)", solution.source, re.M)[-1]
            found[name] = (solution.source, check.source)
    return found


@cache
def shared_names(path):
    """What the set-up and the algorithms of a notebook define."""
    matplotlib.use("Agg")
    space = {}
    with contextlib.chdir(path.parent), contextlib.redirect_stdout(io.StringIO()):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code" and SHARED & set(cell.metadata.get("tags", ())):
                exec(compile(cell.source, path.name, "exec"), space)
    return space


def said(path, code, check):
    space, out = dict(shared_names(path)), io.StringIO()
    with contextlib.chdir(path.parent), contextlib.redirect_stdout(out):
        exec(compile(code, "solution", "exec"), space)
        exec(compile(check, "check", "exec"), space)
    return [line for line in out.getvalue().splitlines() if line.startswith(("Right.", "Not yet"))]


def tried():
    """(notebook, exercise, right or wrong, code) for every solution on file, for constants and for no solution.

    The lesson's own solutions run where the lesson runs, and `test_classroom` sees that they are right.
    """
    for path in lessons():
        known = yaml.safe_load((Path(__file__).parent / "exercises" / f"{path.stem[:2]}.yaml").read_text())
        for name, (solution, _) in exercises(path).items():
            wrong = [f"def {name}(*args, **named):\n    {line}\n" for line in CONSTANTS]
            for code in known[name]["right"]:
                yield path, name, True, code
            for code in [BLOCK.sub(PLACEHOLDER, solution), *wrong, *known[name]["wrong"]]:
                yield path, name, False, code


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("path", "name", "right", "code"),
    [pytest.param(*case, id=f"{case[0].stem[:2]}-{case[1]}-{number}") for number, case in enumerate(tried())],
)
def test_a_check_tells_right_from_wrong(path, name, right, code):
    lines = said(path, code, exercises(path)[name][1])
    assert lines
    assert all(line == "Right." for line in lines) == right, "\n".join([code, *lines])


@pytest.mark.parametrize("path", lessons(), ids=lambda path: path.stem)
def test_every_exercise_has_another_right_solution_and_five_wrong_ones_on_file(path):
    known = yaml.safe_load((Path(__file__).parent / "exercises" / f"{path.stem[:2]}.yaml").read_text())
    assert set(known) == set(exercises(path)) and len(known) >= 4  # three exercises and a lab
    assert all(len(entry["right"]) >= 1 and len(entry["wrong"]) >= 5 for entry in known.values())
