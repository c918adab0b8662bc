"""A folder for a class: nbgrader's source and configuration, and copies to hand out."""

from collections.abc import Iterable
from pathlib import Path

from survey_lib.course.exercises import student
from survey_lib.course.grading import with_points
from survey_lib.experiment import files

CONFIG = """c = get_config()
c.CourseDirectory.course_id = "{name}"
c.ExecutePreprocessor.timeout = 600
c.ClearSolutions.code_stub = {{"python": "# YOUR CODE HERE\\nraise NotImplementedError"}}
"""


def course_folder(out: str | Path, notebooks: Iterable[Path]) -> dict[str, int]:
    """Write a course into the folder `out`, named after it.

    * source/NAME/NAME.ipynb: what nbgrader reads: metadata, one point a check, hidden assertions

    * nbgrader_config.py: its settings; run `nbgrader` in this folder

    * student/: copies without solutions, for a class without nbgrader

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
    with files.anew(out) as fresh:
        points = {path.stem: with_points(path, fresh / "source" / path.stem) for path in paths}
        student(paths, fresh / "student")
        (fresh / "nbgrader_config.py").write_text(CONFIG.format(name=out.name), encoding="utf-8")
    return points
