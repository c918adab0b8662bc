"""The runner never calls a failed notebook done."""

import copy
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from joblib.externals.loky import get_reusable_executor
from nbformat.v4 import new_code_cell

from survey_lib.course import notebooks
from survey_lib.course.notebooks import Run, normalise, publish, run_all, run_notebook

ROOT = Path(__file__).parents[1]
TINY = ROOT / "tests" / "fixtures" / "tiny.ipynb"


def with_cell(folder: Path, source: str, name: str = "broken") -> Path:
    """The tiny notebook with one more cell before its last one."""
    notebook = nbformat.read(TINY, as_version=4)
    notebook.cells.insert(-1, new_code_cell(source, id="added"))
    path = folder / f"{name}.ipynb"
    nbformat.write(notebook, path)
    return path


@pytest.fixture(scope="module")
def executed(tmp_path_factory) -> Run:
    """The tiny notebook, executed once for all tests of this module."""
    run = run_notebook(TINY, {}, tmp_path_factory.mktemp("executed") / TINY.name)
    assert run.failure == ""
    return run


@pytest.mark.filterwarnings("ignore")
def test_two_runs_give_the_same_bytes_and_use_the_values_given(executed, tmp_path):
    first = shutil.copy(executed.out, tmp_path / "a.ipynb")
    normalise(first)
    assert first.read_bytes() == TINY.read_bytes()
    chosen = run_notebook(TINY, {"sparsity": 0.25}, tmp_path / "b.ipynb")
    assert "sparsity 0.25, steps 3" in str(nbformat.read(chosen.out, as_version=4))


def test_b60_a_misspelt_parameter_is_refused_with_near_matches(tmp_path):
    with pytest.raises(ValueError, match="'sparsty'; near: sparsity"):
        run_notebook(TINY, {"sparsty": 0.9}, tmp_path / "out.ipynb")
    assert list(tmp_path.iterdir()) == []


def test_b60_a_notebook_without_parameters_cell_is_refused(tmp_path):
    notebook = nbformat.read(TINY, as_version=4)
    notebook.cells[1].metadata = {}
    nbformat.write(notebook, tmp_path / "untagged.ipynb")
    with pytest.raises(
        ValueError, match="unknown parameter of untagged.ipynb 'sparsity'; near: none; allowed: none"
    ):
        run_notebook(tmp_path / "untagged.ipynb", {"sparsity": 0.9}, tmp_path / "out.ipynb")


@pytest.mark.filterwarnings("ignore")
def test_b62_b63_failures_are_named_and_nothing_is_left_that_counts_as_done(tmp_path):
    parts = "print('one', end=' ', flush=True)\nprint('line', flush=True)\n1 / 0"
    raising = run_notebook(with_cell(tmp_path, parts, "raising"), {}, tmp_path / "out" / "raising.ipynb")
    dying = run_notebook(
        with_cell(tmp_path, "import os; os._exit(9)", "dying"), {}, tmp_path / "out" / "dying.ipynb"
    )
    assert raising.failure == "cell 3: ZeroDivisionError: division by zero"
    assert dying.failure.startswith("DeadKernelError: Kernel died")
    assert not raising.out.exists() and not dying.out.exists()
    kept = nbformat.read(raising.out.with_suffix(".failed.ipynb"), as_version=4)
    assert "one line\n" in [output.get("text") for cell in kept.cells for output in cell.get("outputs", ())]


@pytest.mark.filterwarnings("ignore")
def test_b63_a_second_call_runs_only_what_is_missing(tmp_path):
    good, bad = tmp_path / "good.ipynb", with_cell(tmp_path, "raise SystemError('gone')", "bad")
    shutil.copy(TINY, good)
    first = list(run_all([good, bad], {}, tmp_path / "out", jobs=1))
    assert [(run.name, bool(run.failure)) for run in first] == [("good", False), ("bad", True)]
    shutil.copy(TINY, bad)
    assert [run.name for run in run_all([good, bad], {}, tmp_path / "out", jobs=1)] == ["bad"]
    assert list(run_all([good, bad], {}, tmp_path / "out", jobs=1)) == []


def test_notebooks_run_after_a_sweep_in_the_same_process(tmp_path):
    get_reusable_executor(2).submit(abs, -1).result()  # as a sweep leaves it
    paths = [with_cell(tmp_path, "1 + 1", name) for name in ("one", "two")]
    assert not any(run.failure for run in run_all(paths, {}, tmp_path / "out", jobs=2))


INTERRUPTIBLE = """
import signal, sys
from pathlib import Path
from survey_lib.cli import main
from survey_lib.course import notebooks
notebooks.FOLDER = Path(sys.argv[1])
signal.signal(signal.SIGINT, signal.default_int_handler)
main(["notebooks", "run", "--out", "out"])
"""


def test_ctrl_c_ends_all_processes_with_one_word(tmp_path):
    """The command, its workers and their kernels; a third notebook waits and is not begun."""
    for name in ("a", "b", "c"):
        with_cell(
            tmp_path, f"import time, pathlib\npathlib.Path('begun-{name}').touch()\ntime.sleep(600)", name
        )
    here = os.environ | {"PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-c", INTERRUPTIBLE, tmp_path]
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=here,
        start_new_session=True,
        cwd=tmp_path,
    )
    while len(list(tmp_path.glob("begun-*"))) < 2:
        assert child.poll() is None
        time.sleep(0.05)
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does
    said, _ = child.communicate(timeout=60)  # the pipe ends with its last process
    said = said.decode()  # a kernel that is met between two statements may say where, in frames of ipykernel
    assert child.returncode == 1 and said.splitlines().count("Aborted!") == 1 and "survey_lib/c" not in said
    assert not (tmp_path / "begun-c").exists()


@pytest.mark.filterwarnings("ignore")
def test_publishing_leaves_a_notebook_that_was_edited_while_it_ran(executed, tmp_path, monkeypatch):
    monkeypatch.setattr(notebooks, "FOLDER", tmp_path / "notebooks")
    (tmp_path / "notebooks").mkdir()
    path = Path(shutil.copy(TINY, tmp_path / "notebooks"))
    run = replace(executed, out=shutil.copy(executed.out, tmp_path / path.name))
    with_cell(path.parent, "'a new thought'", path.stem)
    edited = path.read_bytes()
    with pytest.raises(ValueError, match="tiny was edited while it ran"):
        publish(run)
    assert path.read_bytes() == edited
    shutil.copy(TINY, path)
    publish(run)
    assert path.read_bytes() == TINY.read_bytes()


def test_names_that_are_new_in_every_run_become_the_count_of_their_cell(tmp_path):
    notebook = nbformat.read(TINY, as_version=4)
    shown = {"text/html": '<td id="T_ed94f_row0">', "text/plain": "<Styler at 0x7fd4ba9a03d0>"}
    notebook.cells[2].outputs = [nbformat.v4.new_output("execute_result", shown, execution_count=7)]
    nbformat.write(notebook, path := tmp_path / "styled.ipynb")
    normalise(path)
    (output,) = nbformat.read(path, as_version=4).cells[2].outputs
    assert output.data == {
        "text/html": '<td id="T_00002_row0">',
        "text/plain": "<Styler at 0x000000000002>",
    }


def nbval(path: Path) -> str:
    """What nbval says of a notebook: the names of its cells that failed, and a count."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rf",
        "--tb=no",
        "--nbval",
        "--nbval-current-env",
        "-p",
        "no:cacheprovider",
        f"--nbval-sanitize-with={ROOT / 'tests' / 'nbval_sanitize.cfg'}",
        str(path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=path.parent)
    return done.stdout.partition("short test summary info")[2]


def test_b64_outputs_that_cannot_repeat_are_sanitised_and_others_are_compared(tmp_path):
    source = "import os\nprint(object(), '1.25 s', f'/tmp/ipykernel_{os.getpid()}/7.py')\nprint(round(0.1 + 0.2, 3))"
    path = with_cell(tmp_path, source, "fickle")
    executed = run_notebook(path, {}, tmp_path / "executed.ipynb")
    assert executed.failure == ""
    notebook = nbformat.read(executed.out, as_version=4)
    changed = copy.deepcopy(notebook.cells[-2])
    changed.id = "changed"
    changed.outputs[0].text = changed.outputs[0].text.replace("0.3", "0.4")
    notebook.cells.append(changed)
    nbformat.write(notebook, executed.out)
    said = nbval(executed.out)  # another process: other addresses, other numbers of the kernel
    assert "1 failed, 4 passed" in said and "::Cell 4" in said  # a number that changed is no noise
