"""Run notebooks with checked parameters, and bring them to the one form in which they are committed."""

import logging
import multiprocessing
import re
import signal
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import nbformat

from survey_lib.experiment import files
from survey_lib.lookup import known
from survey_lib.repository import REPOSITORY

KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
METADATA = KERNEL | {"language_info": {"name": "python"}}
FOLDER = REPOSITORY / "notebooks"
CELL_TIMEOUT = 3600
INSERTED = {"injected-parameters", "papermill-error-cell-tag"}  # tags of papermill's own cells
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


def parameters(path: str | Path) -> dict[str, str]:
    """Name -> default (source text) of each parameter; empty without a cell tagged `parameters`."""
    from papermill import inspect_notebook

    return {name: found["default"] for name, found in inspect_notebook(str(path)).items()}


def run_notebook(path: str | Path, parameters: dict, out: str | Path) -> Run:
    """Execute a notebook in its own folder and kernel, and keep the result if every cell ran.

    Names in `parameters` must be the notebook's own: papermill itself would only warn about a misspelt one. A
    failure of any kind (a raising cell, a dead or missing kernel, a time-out) is returned, not raised; its
    partly executed notebook stays beside `out` as `NAME.failed.ipynb`.

    Parameters
    ----------
    path : str | Path
        The notebook.
    parameters : dict
        New values of the notebook's parameters.
    out : str | Path
        Where the result goes.

    Raises
    ------
    FileNotFoundError
        For a missing notebook.
    ValueError
        For an unknown parameter.
    FileExistsError
        Where somebody else's file would be overwritten.
    """
    path, out = Path(path).resolve(), Path(out).absolute()
    _refuse_unknown(path, parameters)
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
    paths: Iterable[Path],
    parameters: dict,
    folder: str | Path,
    jobs: int = 2,
    again: bool = False,
    report: Callable[[Run], None] = lambda run: None,
) -> list[Run]:
    """Run notebooks in parallel processes; a result newer than all it rests on is kept.

    Parameters
    ----------
    paths : Iterable[Path]
        The notebooks.
    parameters : dict
        New values of the notebooks' parameters.
    folder : str | Path
        Where the results go.
    jobs : int, default 2
        Number of processes.
    again : bool, default False
        Even where the result is new.
    report : Callable[[Run], None], default lambda run: None
        Is called with each Run as it ends.

    Returns
    -------
    list[Run]
        The runs of this call in the order of `paths`.
    """
    folder = Path(folder)
    waiting = [path for path in paths if again or not _is_current(path, folder / path.name, parameters)]
    for path in waiting:
        _refuse_unknown(path, parameters)
    files.refuse_foreign(
        folder, [name for path in waiting for name in (path.name, f"{path.stem}.failed.ipynb")]
    )
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _ignore_ctrl_c) as pool:
        tasks = [pool.submit(run_notebook, path, parameters, folder / path.name) for path in waiting]
        try:
            for task in as_completed(tasks):
                report(task.result())
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise
        return [task.result() for task in tasks]


def _ignore_ctrl_c() -> None:
    """It reaches all processes, and the parent ends the others; kernels end with the process that started them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def publish_all(runs: Iterable[Run], folder: Path) -> None:
    """Normalise executed notebooks and put them into the folder that is committed.

    Parameters
    ----------
    runs : Iterable[Run]
        What `run_all` returned.
    folder : Path
        Folder of the committed notebooks.

    Raises
    ------
    ValueError
        For a notebook whose cells were edited while it ran; that one is left.
    """
    for run in runs:
        normalise(run.out)
        cells, now = (
            [cell.source for cell in nbformat.read(path, as_version=4).cells]
            for path in (run.out, folder / run.out.name)
        )
        if cells != now:
            raise ValueError(f"{run.name} was edited while it ran, and is left as it is; run it again")
        run.out.replace(folder / run.out.name)


def normalise(path: str | Path) -> None:
    """Rewrite an executed notebook so that two executions of the same cells give the same bytes.

    Dropped: versions and times in the metadata, injected parameters, error banners. Counts become 1..n, and
    addresses and the names of styled tables the count of their cell.
    """
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.cells = [c for c in notebook.cells if INSERTED.isdisjoint(c.metadata.get("tags", ()))]
    count = 0
    for cell in notebook.cells:
        for key in ("papermill", "execution", "collapsed", "scrolled", "lines_to_next_cell"):
            cell.metadata.pop(key, None)
        if not folded(cell):
            cell.metadata.pop("jupyter", None)
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count = count
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
            for kind, text in output.get("data", {}).items():
                if kind.startswith("text/"):
                    output.data[kind] = ADDRESS.sub(f"0x{count:012}", STYLED.sub(f"T_{count:05}", text))
    nbformat.validate(notebook)
    nbformat.write(notebook, path)


def folded(cell: nbformat.NotebookNode) -> bool:
    """Whether a cell's code is hidden until it is opened, in JupyterLab and on the site."""
    return "hide-input" in cell.metadata.get("tags", ()) and cell.metadata.get("jupyter") == {
        "source_hidden": True
    }


def _refuse_unknown(path: Path, chosen: dict) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"no notebook {path}; those of the course are in {FOLDER}")
    there = parameters(path) if chosen else {}
    for name in chosen:
        known(f"parameter of {path.name}", name, there)


def _execute(path: Path, out: Path, chosen: dict) -> str:
    """Run with papermill; the reason of a failure, or '' for success."""
    from papermill import PapermillExecutionError, execute_notebook

    logging.getLogger("papermill").setLevel(logging.ERROR)
    place = {"kernel_name": "python3", "cwd": str(path.parent), "execution_timeout": CELL_TIMEOUT}
    try:
        # without `coalesce_streams` a busy machine splits what a cell prints into several outputs
        execute_notebook(str(path), str(out), chosen, progress_bar=False, coalesce_streams=True, **place)
    except PapermillExecutionError as error:
        return f"cell {error.exec_count}: {error.ename}: {error.evalue}".splitlines()[0]
    except Exception as error:  # a dead or missing kernel, a time-out
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return _unfinished(nbformat.read(out, as_version=4))


def _unfinished(notebook: nbformat.NotebookNode) -> str:
    """Papermill's own status says `completed` for cells that never ran; the execution count does not lie."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.source.strip() and cell.execution_count is None:
            return f"a cell never ran: {cell.source.splitlines()[0]!r}"
    return ""


def _is_current(path: Path, out: Path, chosen: dict) -> bool:
    if not out.is_file():
        return False
    library = Path(__file__).parents[1]
    sources = [path, *library.rglob("*.py"), *(library.parent / "data").rglob("*.*")]
    try:
        used = nbformat.read(out, as_version=4).metadata.get("papermill", {}).get("parameters", {})
    except ValueError:  # no notebook
        return False
    return dict(used) == chosen and out.stat().st_mtime > max(source.stat().st_mtime for source in sources)
