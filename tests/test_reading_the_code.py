"""docs/reading_the_code.md: its links lead to the functions they name, and its example prints what it says."""

import doctest
import re
import sys
from collections import defaultdict

import pytest
import torch
from torch import nn

from survey_lib import prune
from survey_lib.experiment.data.sources import REPOSITORY

PAGE = REPOSITORY / "docs" / "reading_the_code.md"
LINK = re.compile(r"\[`(\w+)`\]\(\.\./([\w/]+\.py)#L(\d+)\)")


@pytest.mark.parametrize("name, path, line", sorted(set(LINK.findall(PAGE.read_text()))))
def test_a_link_leads_to_the_line_where_its_function_begins(name, path, line):
    text = (REPOSITORY / path).read_text().splitlines()[int(line) - 1]
    assert re.match(rf"(def|class) {name}\b|{name}\b.*=", text), f"{path}:{line} is {text!r}"


def test_the_example_prints_what_it_says():
    assert doctest.testfile(str(PAGE), module_relative=False) == doctest.TestResults(0, 7)


ENGINE = ("chain/coupling/", "chain/surgery/")  # finds what goes together, cuts it, and checks the cut


def entered(call) -> dict[str, set[int]]:
    """The files of the library that a call enters outside the coupling engine, and the lines that run in each."""
    root, lines, before = f"{REPOSITORY}/survey_lib/", defaultdict(set), sys.gettrace()

    def trace(frame, event, argument):
        name = frame.f_code.co_filename.removeprefix(root)
        if name == frame.f_code.co_filename or name.startswith(ENGINE):
            return None
        if event == "line":
            lines[name].add(frame.f_lineno)
        return trace

    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return lines


def test_pruning_filters_is_a_short_walk():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))
    lines = entered(lambda: prune(net, "l1-filter", 0.5, example=torch.ones(1, 3, 8, 8)))
    assert "prune.py" in lines and len(lines) <= 8, sorted(lines)
    assert sum(map(len, lines.values())) <= 300
