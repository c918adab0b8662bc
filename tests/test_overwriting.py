"""No command deletes, changes or writes through what it did not write: each is driven over a folder that is in use."""

import hashlib
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import click
import pandas as pd
import pytest
from click.testing import CliRunner
from joblib import Parallel

from survey_lib.cli import main, reproduce
from survey_lib.course import classroom, notebooks
from survey_lib.experiment import files
from survey_lib.figures import catalogue
from survey_lib.site import generate as site

FIXTURES = Path(__file__).parent / "fixtures"
COMMANDS = {
    "site": (("site", "OUT"), "index.md"),
    "student": (("student", "OUT"), "tiny.ipynb"),
    "figure": (("figure", "patterns", "--out", "OUT"), "patterns.svg"),
    "notebooks": (("notebooks", "run", "tiny", "--out", "OUT"), "tiny.ipynb"),
    "failed notebook": (("notebooks", "run", "tiny", "--out", "OUT"), "tiny.failed.ipynb"),
    "reproduce": (("reproduce", "--out", "OUT"), "figures/patterns.svg"),
    "class": (("class", "OUT", "--notebooks", "tiny"), "nbgrader_config.py"),
}


@pytest.fixture(params=COMMANDS.values(), ids=COMMANDS)
def command(request, tmp_path, monkeypatch):
    """Call a command that writes into a folder, with its slow parts replaced; the name of one file it writes."""
    monkeypatch.setattr(notebooks, "FOLDER", FIXTURES)
    monkeypatch.setattr(notebooks, "Parallel", partial(Parallel, backend="threading"))
    monkeypatch.setattr(notebooks, "_execute", lambda path, out, _: shutil.copy(path, out) and "")
    monkeypatch.setattr(
        "matplotlib.figure.Figure.savefig", lambda _, path, **__: path.write_text("a picture")
    )
    monkeypatch.setattr(site, "_write", lambda out, *_: (out / "index.md").write_text("a page"))
    monkeypatch.setattr(classroom, "with_points", lambda *_: 1)
    monkeypatch.setattr(reproduce, "FOLDER", tmp_path / "no notebooks")
    monkeypatch.setattr(reproduce, "FIGURES", {"patterns": catalogue.FIGURES["patterns"]})
    monkeypatch.setattr(reproduce, "finished", lambda *_, **__: pd.DataFrame())
    monkeypatch.setattr(reproduce, "FIRST", "patterns")
    monkeypatch.setattr(reproduce, "results_table", lambda frame: frame)
    monkeypatch.setattr(reproduce.sweep, "sweep", lambda *_, **__: Mock(interrupted="", failed={}))
    words, name = request.param

    def call():
        return CliRunner().invoke(main, [str(tmp_path / "out" if word == "OUT" else word) for word in words])

    return call, name


def tree(folder: Path) -> dict:
    """All that lies in a folder: the content of files, the target of links."""
    return {
        path.relative_to(folder): os.readlink(path)
        if path.is_symlink()
        else hashlib.md5(path.read_bytes()).digest()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def refused(call, root: Path) -> None:
    before = tree(root)
    done = call()
    assert done.exit_code == 1 and "nothing is overwritten" in done.output, done.output
    assert tree(root) == before


def test_a_file_of_another_hand_is_refused_and_stays(command, tmp_path):
    call, name = command
    (tmp_path / "out" / name).parent.mkdir(parents=True)
    (tmp_path / "out" / name).write_text("my thesis")
    refused(call, tmp_path)


def test_a_link_to_a_file_elsewhere_is_not_written_through(command, tmp_path):
    call, name = command
    (tmp_path / "out" / name).parent.mkdir(parents=True)
    shutil.copy(FIXTURES / "tiny.ipynb", tmp_path / "master.ipynb")
    (tmp_path / "out" / name).symlink_to(tmp_path / "master.ipynb")
    refused(call, tmp_path)


def test_a_dangling_link_and_a_folder_of_that_name_are_refused(command, tmp_path):
    call, name = command
    (tmp_path / "out" / name).parent.mkdir(parents=True)
    (tmp_path / "out" / name).symlink_to(tmp_path / "nowhere")
    refused(call, tmp_path)
    (tmp_path / "out" / name).unlink()
    (tmp_path / "out" / name).mkdir()
    (tmp_path / "out" / name / "thesis.tex").write_text("my thesis")
    refused(call, tmp_path)


def test_its_own_file_is_written_again_until_somebody_works_on_it(command, tmp_path):
    call, name = command
    if name.endswith("failed.ipynb"):
        pytest.skip("this one is left by a failure only")
    assert [call().exit_code for _ in range(2)] == [0, 0]
    path = tmp_path / "out" / name
    path.write_text(path.read_text() + "\n")
    refused(call, tmp_path)


def test_the_list_of_what_was_written_is_no_way_out_of_the_folder(command, tmp_path):
    call, name = command
    folder = (tmp_path / "out" / name).parent
    folder.mkdir(parents=True)
    (tmp_path / "precious").write_text("mine")
    (folder / files.WRITTEN).symlink_to(tmp_path / "precious")
    refused(call, tmp_path)
    (folder / files.WRITTEN).unlink()
    (folder / files.WRITTEN).hardlink_to(tmp_path / "precious")
    refused(call, tmp_path)


@pytest.mark.parametrize("link", [False, True])
def test_site_replaces_only_a_folder_that_is_wholly_its_own(link, tmp_path, monkeypatch):
    """`docs` has a conf.py, as the source of a site has; it is not one that the command wrote."""
    monkeypatch.setattr(site, "_write", lambda out, *_: (out / "index.md").write_text("a page"))
    shutil.copytree(site.REPOSITORY / "docs", tmp_path / "docs")
    if link:
        (tmp_path / "site").mkdir()
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "site" / "more").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "docs").rename(tmp_path / "elsewhere" / "docs")
    before = tree(tmp_path)
    with pytest.raises(FileExistsError, match="nothing is overwritten"):
        site.write_source(tmp_path / ("site" if link else "docs"))
    assert tree(tmp_path) == before
    site.write_source(tmp_path / "new")
    monkeypatch.setattr(site, "_write", lambda out, *_: (out / "other.md").write_text("a page"))
    site.write_source(tmp_path / "new")
    assert not (tmp_path / "new" / "index.md").exists()
    (tmp_path / "new" / "stale.md").write_text("a page of mine")
    with pytest.raises(FileExistsError, match="stale.md"):
        site.write_source(tmp_path / "new")


def test_site_refuses_a_file_or_a_link_in_place_of_the_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link"):
        with pytest.raises(FileExistsError):
            site.write_source(tmp_path / name)
    assert (tmp_path / "file").read_text() == "mine"


def test_site_refuses_a_folder_that_it_cannot_look_into(tmp_path, monkeypatch):
    monkeypatch.setattr(site, "_write", lambda out, *_: (out / "index.md").write_text("a page"))
    site.write_source(tmp_path / "site")
    (tmp_path / "site" / "locked").mkdir()
    (tmp_path / "site" / "locked" / "thesis.tex").write_text("my thesis")
    look = os.scandir

    def locked(path):  # as for all but root
        if Path(path).name == "locked":
            raise PermissionError(f"{path}: permission denied")
        return look(path)

    monkeypatch.setattr(os, "scandir", locked)
    with pytest.raises(PermissionError, match="locked"):
        site.write_source(tmp_path / "site")
    monkeypatch.setattr(os, "scandir", look)
    assert (tmp_path / "site" / "locked" / "thesis.tex").read_text() == "my thesis"


def test_nothing_moves_when_the_work_fails(tmp_path):
    for alone in (False, True):
        with pytest.raises(RuntimeError), files.into(tmp_path / "out", alone=alone) as fresh:
            (fresh / "half.md").write_text("half")
            raise RuntimeError
        assert tree(tmp_path) == {}


SINGLE = [("prune", "--model", "resnet-8", "--method", "magnitude", "--sparsity", 0.5, "--out")]


def commands(group: click.Group):
    for command in group.commands.values():
        yield from commands(command) if isinstance(command, click.Group) else [command]


def test_every_command_that_writes_where_it_is_told_is_driven_here():
    driven = [*(words for words, _ in COMMANDS.values()), *SINGLE]
    for command in commands(main):
        for parameter in command.params:
            if isinstance(parameter.type, click.Path):
                words = {"OUT"} if isinstance(parameter, click.Argument) else {*parameter.opts}
                assert any(command.name in each and words & set(each) for each in driven), parameter


@pytest.mark.parametrize("words", SINGLE, ids=lambda words: f"{words[0]} {words[-1]}")
def test_a_single_file_is_never_replaced_and_its_folder_must_exist(words, tmp_path):
    for path, said in (
        (tmp_path / "mine", "is there already"),
        (tmp_path / "no" / "such", "is not a folder"),
    ):
        (tmp_path / "mine").write_text("my thesis")
        done = CliRunner().invoke(main, [*map(str, words), str(path)])
        assert done.exit_code == 1 and said in done.output and "Traceback" not in done.output
    assert tree(tmp_path).keys() == {Path("mine")} and (tmp_path / "mine").read_text() == "my thesis"


def test_the_list_reads_as_sha256sum_writes_it(tmp_path):
    with files.into(tmp_path) as fresh:
        (fresh / "a.txt").write_text("a")
    done = subprocess.run(["sha256sum", "--check", "--quiet", files.WRITTEN], cwd=tmp_path)
    assert done.returncode == 0


def test_the_package_itself_is_the_command():
    done = subprocess.run([sys.executable, "-m", "survey_lib", "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("survey, version")
