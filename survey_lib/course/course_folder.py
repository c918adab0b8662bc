"""A folder for a class: nbgrader's source and configuration, copies to hand out, a handout, and an answer key."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import nbformat

from survey_lib.course.exercises import BLOCK, student
from survey_lib.course.grading import with_points
from survey_lib.course.reading import asks, times
from survey_lib.experiment import files

CONFIG = """c = get_config()
c.CourseDirectory.course_id = "{name}"
c.ExecutePreprocessor.timeout = 600
c.ClearSolutions.code_stub = {{"python": "# YOUR CODE HERE\\nraise NotImplementedError"}}
"""
HANDOUT = """# {name}

Open a notebook with `jupyter lab student`. Write where it says `YOUR CODE HERE`; the cell below then says `Right.`, or
what is missing. Hand in the notebooks with their outputs.

{assignments}
"""


def course_folder(out: str | Path, notebooks: Iterable[Path]) -> dict[str, int]:
    """Write a course into the folder `out`, named after it.

    * source/NAME/NAME.ipynb: what nbgrader reads: metadata, one point a check, hidden assertions

    * nbgrader_config.py: its settings; run `nbgrader` in this folder

    * student/: copies without solutions, for a class without nbgrader

    * handout.md: questions, times and exercises for students

    * key.md: each exercise with its solution, for teachers

    Parameters
    ----------
    out : str | Path
        Folder of the files.
    notebooks : Iterable[Path]
        Notebooks of the course.

    Returns
    -------
    dict[str, int]
        Points of each notebook.

    Raises
    ------
    FileExistsError
        Before any work, for a folder that holds anything of another hand.
    ValueError
        For a notebook without checks.
    """
    out, paths = Path(out), list(notebooks)
    if not paths:
        raise ValueError("no notebook is named, so there is nothing to teach")
    with files.anew(out) as fresh:
        points = {path.stem: with_points(path, fresh / "source" / path.stem) for path in paths}
        student(paths, fresh / "student")
        (fresh / "nbgrader_config.py").write_text(CONFIG.format(name=out.name), encoding="utf-8")
        (fresh / "handout.md").write_text(_handout(out.name, paths, points), encoding="utf-8")
        (fresh / "key.md").write_text("\n".join(map(key, paths)), encoding="utf-8")
    return points


def _handout(name: str, paths: list[Path], points: dict[str, int]) -> str:
    minutes = times(paths[0].parent).set_index("notebook")
    parts = []
    for path in paths:
        title, question = asks(path)
        row = minutes.loc[path.stem]
        tasks = "\n".join(f"* {task.splitlines()[0]}" for task, _ in exercises(path))
        parts.append(
            f"## {title}\n\n{question}\n\nAbout {row['read, min']} minutes to read, "
            f"{row['with exercises, min']} with the exercises; {points[path.stem]} points.\n\n{tasks}\n"
        )
    return HANDOUT.format(name=name, assignments="\n".join(parts))


def key(path: Path) -> str:
    """The answer key of one notebook, as Markdown."""
    solved = [f"{task}\n\n```python\n{code.rstrip()}\n```\n" for task, code in exercises(path)]
    return "\n".join([f"# {asks(path)[0]}: answers\n", *solved])


def exercises(path: Path) -> list[tuple[str, str]]:
    """The text of each exercise, and the code between its marks."""
    found, text = [], ""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            text = re.split(r"^(?=\*\*\d+\. )", cell.source, flags=re.MULTILINE)[-1].strip()
        elif blocks := BLOCK.findall(cell.source):
            found.append((text, "\n".join(code for _, code in blocks)))
    return found
