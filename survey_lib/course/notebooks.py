"""Run notebooks with checked parameters, and bring them to the one form in which they are committed."""

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor

from survey_lib.experiment import files
from survey_lib.lookup import known
from survey_lib.repository import REPOSITORY

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
METADATA = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
FOLDER = REPOSITORY / "notebooks"
CELL_TIMEOUT = 3600
KEPT = ("tags", "jupyter")  # of a cell's metadata; `jupyter` says which cells are folded
STYLED, ADDRESS = re.compile(r"\bT_[0-9a-f]{5}"), re.compile(r"\b0x[0-9a-f]{6,}\b")  # new in every run


@dataclass(frozen=True)
class Run:
    """What became of one notebook.

    Attributes
    ----------
    name : str
        Name of the notebook.
    out : Path
        The executed file, if it succeeded.
    failure : str
        A one-line reason, if it failed.
    seconds : float
        How long it ran.
    """

    name: str
    out: Path
    seconds: float
    failure: str = ""

    def line(self) -> str:
        """The outcome in a line."""
        end = "FAILED, " + self.failure if self.failure else "ok"
        return f"{self.name}: {end} ({self.seconds:.0f} s)"


def run_notebook(path: Path, parameters: dict, out: Path) -> Run:
    """Execute a notebook in its own folder and kernel, and keep the result if every cell ran.

    Names in `parameters` must be the notebook's own: papermill itself would only warn about a misspelt one. A
    failure of any kind (a raising cell, a dead or missing kernel, a time-out) is returned, not raised; its
    partly executed notebook stays beside `out` as `NAME.failed.ipynb`.

    Parameters
    ----------
    path : Path
        The notebook.
    parameters : dict
        New values of the notebook's parameters.
    out : Path
        Where the result goes.

    Raises
    ------
    ValueError
        For an unknown parameter.
    FileExistsError
        Where somebody else's file would be overwritten.
    """
    from papermill import inspect_notebook

    path, out = path.resolve(), out.absolute()
    there = inspect_notebook(str(path)) if parameters else {}
    for name in parameters:
        known(f"parameter of {path.name}", name, there)
    partial = out.with_suffix(".failed.ipynb")
    start = time.perf_counter()
    with files.into(out.parent, [out.name, partial.name]) as fresh:
        failure = _execute(path, fresh / partial.name, parameters)
        if failure.startswith("RuntimeError: Kernel"):  # lost the race for a port, before any cell ran
            failure = _execute(path, fresh / partial.name, parameters)
        if not failure:
            (fresh / partial.name).replace(fresh / out.name)
            partial.unlink(missing_ok=True)
    return Run(path.stem, out, time.perf_counter() - start, failure)


def run_all(
    paths: Iterable[Path], parameters: dict, folder: Path, jobs: int = 2, again: bool = False
) -> Iterator[Run]:
    """Run notebooks in parallel processes, each Run as it ends; a result newer than all it rests on is kept.

    Parameters
    ----------
    paths : Iterable[Path]
        The notebooks.
    parameters : dict
        New values of the notebooks' parameters.
    folder : Path
        Where the results go.
    jobs : int, default 2
        Number of processes.
    again : bool, default False
        Even where the result is new.

    Raises
    ------
    ValueError
        For an unknown parameter, or a FileExistsError where somebody else's file would be overwritten; no more are
        begun then.
    """
    waiting = [path for path in paths if again or not _is_current(path, folder / path.name, parameters)]
    work = (delayed(run_notebook)(path, parameters, folder / path.name) for path in waiting)
    get_reusable_executor().shutdown()  # joblib would take the workers of a sweep for its own, and fail
    return Parallel(jobs, batch_size=1, return_as="generator_unordered")(work)


def publish(run: Run) -> None:
    """Normalise a notebook that `run_all` executed as it is, and put it into the folder that is committed.

    Raises
    ------
    ValueError
        For a notebook whose cells were edited while it ran; it is left as it is.
    """
    normalise(run.out)
    both = (nbformat.read(path, as_version=4).cells for path in (run.out, FOLDER / run.out.name))
    executed, committed = ([cell.source for cell in cells] for cells in both)
    if executed != committed:
        raise ValueError(f"{run.name} was edited while it ran, and is left as it is; run it again")
    run.out.replace(FOLDER / run.out.name)


def normalise(path: Path) -> None:
    """Rewrite an executed notebook so that two executions of the same cells give the same bytes.

    Versions and times are dropped from the metadata; addresses and the names of styled tables become the count
    of their cell.
    """
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({k: cell.metadata[k] for k in KEPT if k in cell.metadata})
        count = cell.get("execution_count")
        for output in cell.get("outputs", ()):
            for kind, text in output.get("data", {}).items():
                if kind.startswith("text/"):
                    output.data[kind] = ADDRESS.sub(f"0x{count:012}", STYLED.sub(f"T_{count:05}", text))
    nbformat.write(notebook, path)


def _execute(path: Path, out: Path, chosen: dict) -> str:
    """Run with papermill; the reason of a failure, or '' for success."""
    from papermill import PapermillExecutionError, execute_notebook

    place = {"kernel_name": "python3", "cwd": str(path.parent), "execution_timeout": CELL_TIMEOUT}
    try:
        # without `coalesce_streams` a busy machine splits what a cell prints into several outputs
        execute_notebook(str(path), str(out), chosen, progress_bar=False, coalesce_streams=True, **place)
    except PapermillExecutionError as error:
        return f"cell {error.exec_count}: {error.ename}: {error.evalue}".splitlines()[0]
    except Exception as error:  # a dead or missing kernel, a time-out
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""


def _is_current(path: Path, out: Path, chosen: dict) -> bool:
    library = Path(__file__).parents[1]
    sources = [path, *library.rglob("*.py"), *(library.parent / "data").rglob("*.*")]
    try:
        used = nbformat.read(out, as_version=4).metadata["papermill"]["parameters"]
    except (OSError, ValueError, KeyError):  # none, or no executed notebook
        return False
    return dict(used) == chosen and out.stat().st_mtime > max(source.stat().st_mtime for source in sources)
