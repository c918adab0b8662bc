"""Numbers in prose are computed by the comment after them; none is typed by hand."""

import nbformat
import pytest
from nbformat.v4 import new_markdown_cell, new_notebook
from notebook_form import uncommented

from survey_lib.analysis import numbers
from survey_lib.course import prose
from survey_lib.course.notebooks import FOLDER

LESSONS = sorted(FOLDER.glob("*.ipynb"))


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_the_numbers_of_a_lesson_are_as_computed(path):
    assert prose.faults(path) == []


def test_a_stale_number_is_named_and_rewritten(tmp_path):
    path = tmp_path / "a.md"
    path.write_text("Half go for **40 %**<!--= percent(0.5) -->, and 10 %<!--= percent(0.25) --> stay.\n")
    assert prose.faults(path) == [
        "a.md, cell 0: '40 %' should be '50 %' (percent(0.5))",
        "a.md, cell 0: '10 %' should be '25 %' (percent(0.25))",
    ]
    assert prose.write(path) == 1
    assert (
        path.read_text()
        == "Half go for **50 %**<!--= percent(0.5) -->, and 25 %<!--= percent(0.25) --> stay.\n"
    )
    assert prose.faults(path) == [] and prose.write(path) == 0


def test_words_are_updated_where_they_are_bold():
    assert prose.rewritten('It is **worse**<!--= "better" -->.') == 'It is **better**<!--= "better" -->.'


def test_only_markdown_cells_of_a_notebook_are_changed(tmp_path):
    text = "1 %<!--= percent(0.5) -->"
    cells = [new_markdown_cell(text), nbformat.v4.new_code_cell(f"# {text}")]
    nbformat.write(new_notebook(cells=cells), path := tmp_path / "a.ipynb")
    assert prose.write(path) == 1
    now = nbformat.read(path, as_version=4).cells
    assert now[0].source.startswith("50 %") and now[1].source == f"# {text}"


@pytest.mark.parametrize(
    "text",
    ["It loses 2.3 points.", "A share of 40 %.", "It is 3 times faster.", "It takes 12 ms.", "A **tie**."],
)
def test_a_measured_number_without_comment_is_found(text):
    assert len(uncommented(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "In 2019, section 3 used 5 seeds and a 2:4 pattern.",
        "The code `x = 2.5` and the formula $s = 0.5$.",
        "See [the paper](https://arxiv.org/abs/1810.02340).",
        "At 95 %<!--= given --> sparsity.",
        "# 0.5 points\n",
    ],
)
def test_settings_code_formulas_and_links_need_none(text):
    assert uncommented(text) == []


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("__import__('os')", "unknown name"),
        ("percent.__globals__", "is not allowed"),
        ("[x for x in (1,)]", "is not allowed"),
        ("percent(", "never closed"),
        ("percnt(1)", "near: percent"),
        (
            "points(level('a', 'x').mean - level('a', 'y').mean)",
            "is a comparison: declare it in data/claims.yaml",
        ),
    ],
)
def test_an_expression_may_only_call_and_add(expression, why):
    with pytest.raises(ValueError, match=why):
        prose.compute(expression)


def test_a_comment_that_fits_nothing_before_it_is_named():
    with pytest.raises(ValueError, match="stands 'several', expected '50 %'"):
        list(prose.found("several<!--= percent(0.5) -->"))


def test_a_timing_names_what_pruning_gains_in_one_runtime():
    dense, aligned = (numbers.timing("torchvision:resnet18", name, "onnx") for name in ("dense", "aligned"))
    assert dense.pruning == 1
    assert (
        abs(aligned.pruning - dense.median_s / aligned.median_s) < 0.15
    )  # medians of ratios, ratio of medians
    with pytest.raises(ValueError, match="no timing of"):
        numbers.timing("torchvision:resnet18", "cut", "onnx")
