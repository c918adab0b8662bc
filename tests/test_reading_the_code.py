"""docs/reading_the_code.md: its links lead to the functions they name, and its example prints what it says."""

import doctest
import re

import pytest

from survey_lib.experiment.data.sources import REPOSITORY

PAGE = REPOSITORY / "docs" / "reading_the_code.md"
LINK = re.compile(r"\[`(\w+)`\]\(\.\./([\w/]+\.py)#L(\d+)\)")


@pytest.mark.parametrize("name, path, line", sorted(set(LINK.findall(PAGE.read_text()))))
def test_a_link_leads_to_the_line_where_its_function_begins(name, path, line):
    text = (REPOSITORY / path).read_text().splitlines()[int(line) - 1]
    assert re.match(rf"(def|class) {name}\b|{name}\b.*=", text), f"{path}:{line} is {text!r}"


def test_the_example_prints_what_it_says():
    assert doctest.testfile(str(PAGE), module_relative=False) == doctest.TestResults(0, 7)
