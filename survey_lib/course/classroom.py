"""Student copies tried out: every check passes in the source and asks for work in the copy."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pandas as pd

from survey_lib.course.notebooks import run_all

RIGHT, NOT_YET = "Right.", "Not yet"


def verdicts(path: str | Path) -> list[str]:
    """What the check cells of an executed notebook printed, `Right.` or `Not yet`, in order."""
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    lines = [
        line for cell in cells for output in cell.outputs for line in output.get("text", "").splitlines()
    ]
    return [word for line in lines for word in (RIGHT, NOT_YET) if line.startswith(word)]


def tried(source: str | Path, copies: list[Path], jobs: int = 2) -> pd.DataFrame:
    """Run student copies beside their executed sources.

    An unsolved exercise must never stop a notebook.

    Parameters
    ----------
    source : str | Path
        Folder of the executed notebooks.
    copies : list[Path]
        Copies for students.
    jobs : int, default 2
        Number of processes.

    Returns
    -------
    pd.DataFrame
        notebook, checks (that say Right in the source), asking (that say Not yet in the copy), failure
        (why a copy did not run to its end), good.
    """
    runs = run_all(copies, {}, copies[0].parent / "tried", jobs, again=True)
    rows = []
    for run in runs:
        right = verdicts(Path(source) / run.out.name)
        asked = [] if run.failure else verdicts(run.out)
        good = set(right) == {RIGHT} and asked == [NOT_YET] * len(right)
        rows.append((run.name, right.count(RIGHT), asked.count(NOT_YET), run.failure, good))
    return pd.DataFrame(rows, columns=["notebook", "checks", "asking", "failure", "good"])
