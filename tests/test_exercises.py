"""Checks help and never raise; student copies hold no solution and no output."""

import contextlib
import io

import nbformat
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from survey_lib.course.classroom import student
from survey_lib.course.exercises import check_all, check_function, verdicts

SOLVED = """def keep_largest(weight, count):
    # BEGIN SOLUTION
    order = sorted(weight, key=abs, reverse=True)
    return order[:count]
    # END SOLUTION
"""


def folder(tmp_path, source=SOLVED):
    """A course of one notebook: text, an exercise, its solution told in words, its check."""
    cells = [
        new_markdown_cell("# Exercises"),
        new_code_cell(source, execution_count=1),
        new_code_cell("print('the secret way')", metadata={"tags": ["solution-only"]}, execution_count=2),
        new_code_cell(
            "keep_largest([1, -3], 1)",
            execution_count=3,
            outputs=[new_output("stream", name="stdout", text="[-3]")],
        ),
    ]
    (tmp_path / "notebooks").mkdir()
    nbformat.write(new_notebook(cells=cells), tmp_path / "notebooks" / "01_a.ipynb")
    return [tmp_path / "notebooks" / "01_a.ipynb"]


def test_student_copies_hold_no_solution_and_no_output(tmp_path):
    (source,) = folder(tmp_path)
    before = source.read_bytes()
    (path,) = student([source], tmp_path / "student")
    text, copy = path.read_text(), nbformat.read(path, as_version=4)
    for secret in ("SOLUTION", "order", "secret way", "[-3]"):
        assert secret not in text
    assert copy.cells[1].source.splitlines() == [
        "def keep_largest(weight, count):",
        "    # YOUR CODE HERE",
        "    raise NotImplementedError",
    ]
    assert [cell.get("execution_count") for cell in copy.cells] == [None] * 3
    assert source.read_bytes() == before


def test_every_block_of_a_cell_is_stripped(tmp_path):
    (path,) = student(folder(tmp_path, SOLVED + SOLVED.replace("largest", "smallest")), tmp_path / "out")
    assert path.read_text().count("YOUR CODE HERE") == 2


@pytest.mark.parametrize(
    "broken", ["# BEGIN SOLUTION\nx = 1", "x = 1\n# END SOLUTION", "x = 1  # BEGIN SOLUTION\n# END SOLUTION"]
)
def test_an_unpaired_mark_stops_before_anything_is_written(broken, tmp_path):
    with pytest.raises(ValueError, match="must come in pairs"):
        student(folder(tmp_path, broken), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_source_is_never_overwritten(tmp_path):
    source = folder(tmp_path)
    with pytest.raises(FileExistsError, match="give another folder"):
        student(source, source[0].parent)


def unsolved():
    raise NotImplementedError


def outcome(check, *arguments) -> str:
    """What a check prints, which it also notes."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        check(*arguments)
    assert out.getvalue() == verdicts[-1] + "\n"
    return verdicts[-1]


def verdict(answer, expected) -> str:
    return outcome(check_function, answer, lambda: expected, lambda rng: ())


@pytest.mark.parametrize(
    ("answer", "expected", "said"),
    [
        (lambda: torch.tensor([1.0, 2.0]), [1.0, 2.0], "Right."),
        (lambda: torch.tensor([True, False]), np.array([True, False]), "Right."),
        (lambda: 0.1 + 0.2, 0.3, "Right."),
        (lambda: "l1-filter", "l1-filter", "Right."),
        (lambda: {"a"}, {"a"}, "Right."),
        (lambda: [1.0], 1.0, "your function returns [1.0], which is not right."),
        (lambda: "1.0", "1", "your function returns '1.0', which is not right."),
        (lambda: None, 1, "Not yet: your function returned nothing; does it end in `return`?"),
        (unsolved, 1, "Not yet: replace `raise NotImplementedError` with your code."),
        (lambda: [][0], 1, "Not yet: your code raised IndexError: list index out of range."),
    ],
)
def test_verdict(answer, expected, said):
    assert said in verdict(answer, expected)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=8))
def test_a_right_answer_is_right_and_a_moved_one_is_not(values):
    assert verdict(lambda: values, values) == "Right."
    assert verdict(lambda: [value + 1 for value in values], values).startswith("Not yet: ")


def drawn(rng):
    return torch.tensor(rng.normal(size=(3, 4))), int(rng.integers(1, 4))


def largest(weight, count):
    return weight.abs().flatten().topk(count).values


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda weight, count: weight.abs().flatten().sort(descending=True).values[:count], "Right."),
        (lambda weight, count: weight.flatten().topk(count).values, "is not right."),
        (lambda weight, count: torch.zeros(count), "is not right."),
        (lambda weight: weight, "your code raised TypeError"),
        (lambda weight, count: None, "returned nothing"),
    ],
)
def test_a_function_is_compared_on_random_inputs(answer, said):
    line = outcome(check_function, answer, largest, drawn)
    assert said in line and (line == "Right.") == (said == "Right.")


def test_a_function_that_changes_its_input_does_not_change_the_oracle_s():
    def spoils(weight, count):
        return largest(weight.mul_(2), count) / 2

    assert outcome(check_function, spoils, largest, drawn) == "Right."


def test_the_right_answer_is_never_printed():
    assert "41" not in outcome(check_function, lambda x: 7, lambda x: 41, lambda rng: (1,))


def test_the_first_claim_that_fails_is_named():
    claims = {"one is less than two": lambda: 1 < 2, "two is less than one": lambda: 2 < 1}
    assert (
        outcome(check_all, claims, "count")
        == "Not yet: it does not hold that two is less than one. Hint: count."
    )
    assert "ZeroDivisionError" in outcome(check_all, {"it runs": lambda: 1 / 0})
    assert outcome(check_all, {"one is less than two": lambda: True}) == "Right."
