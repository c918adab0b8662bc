"""The generated tables of the README: methods from the catalogue, figures from theirs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from survey_lib.publish.gallery import FIGURES
from survey_lib.publish.tables import markdown, matching

README = Path(__file__).parents[2] / "README.md"

METHOD_COLUMNS = ["method", "category", "when", "cost", "what it does", "paper", "notebook"]


def figures_table() -> pd.DataFrame:
    """One row a figure: name, what it asks, the notebook that discusses it, the study it is drawn from."""
    rows = [(f"`{name}`", e.question, e.notebook, e.study or "none") for name, e in FIGURES.items()]
    return pd.DataFrame(rows, columns=["figure", "asks", "notebook", "study"])


def generated(text: str) -> str:
    """The text with every part between `<!-- begin NAME -->` and `<!-- end NAME -->` drawn again.

    Raises ValueError if a mark is missing.
    """
    for name, table in (("methods", matching()[METHOD_COLUMNS]), ("figures", figures_table())):
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        if begin not in text or end not in text:
            raise ValueError(f"the text lacks the marks {begin} and {end}")
        text = f"{text.partition(begin)[0]}{begin}\n{markdown(table)}\n{end}{text.partition(end)[2]}"
    return text


def update() -> Path:
    """Write the README with its tables drawn again."""
    README.write_text(generated(README.read_text(encoding="utf-8")), encoding="utf-8")
    return README
