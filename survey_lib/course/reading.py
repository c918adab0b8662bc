"""How long a notebook takes a class: reckoned from its words, code and exercises, not observed."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pandas as pd

from survey_lib.course.exercises import BEGIN
from survey_lib.course.notebooks import FOLDER

WORDS, LINES, EXERCISE = 150, 12, 10  # words and lines of code a minute; minutes an exercise


def times(folder: Path = FOLDER) -> pd.DataFrame:
    """One row a notebook: minutes to read it, rounded up to five, exercises, and minutes with them."""
    rows = [_row(path) for path in sorted(folder.glob("*.ipynb"))]
    return pd.DataFrame(rows, columns=["notebook", "read, min", "exercises", "with exercises, min"])


def asks(path: Path) -> tuple[str, str]:
    """Title and question of a notebook.

    The title is the first heading. The question is what is bold, or else the first question, after a heading that
    has the word in it.
    """
    text = "\n\n".join(
        cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"
    )
    title = text.lstrip("# ").partition("\n")[0]
    after = re.split(r"^#+ .*[Qq]uestion.*$", text, maxsplit=1, flags=re.MULTILINE)[-1].strip()
    found = re.match(r"\*\*(.+?)\*\*", after, re.DOTALL) or re.search(r"([^.?!]*\?)", after)
    return title, " ".join(found[1].split()) if found else ""


def _row(path: Path) -> tuple[str, int, int, int]:
    cells = nbformat.read(path, as_version=4).cells
    words = sum(len(cell.source.split()) for cell in cells if cell.cell_type == "markdown")
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    exercises = sum(BEGIN in source for source in code)
    lines = sum(len(source.splitlines()) for source in code if BEGIN not in source)
    minutes = words / WORDS + lines / LINES
    return path.stem, _fives(minutes), exercises, _fives(minutes + EXERCISE * exercises)


def _fives(minutes: float) -> int:
    return -(-round(minutes) // 5) * 5
