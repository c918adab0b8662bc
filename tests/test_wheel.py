"""The wheel in a clean environment: what works without the repository, and what says that it needs it (case B88)."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from survey_lib.analysis.address import Address
from survey_lib.site import generate

ROOT = Path(__file__).parents[1]
COMMANDS = {
    "methods": ["methods", "--category", "pattern"],
    "described": ["methods", "--described"],
    "cite": ["cite", "li2017pruning"],
    "doctor": ["doctor"],
    "prune": [
        "prune",
        "--model",
        "lenet-300-100",
        "--data",
        "digits",
        "--method",
        "magnitude",
        "--sparsity",
        "0.5",
    ],
    "no data": ["prune", "--model", "resnet-8", "--method", "magnitude", "--sparsity", "0.5"],
    "results": ["results", "comparison"],
    "status": ["status"],
    "figure": ["figure", "tradeoff"],
    "notebooks": ["notebooks", "run"],
}
SCRIPT = f"""
import json, sys
from click.testing import CliRunner
import survey_lib
from survey_lib.cli import main
done = {{name: CliRunner().invoke(main, words) for name, words in {COMMANDS!r}.items()}}
try:
    known = len(survey_lib.results("comparison"))
except (ValueError, OSError) as error:
    known = str(error)
said = {{name: [result.exit_code, result.output] for name, result in done.items()}}
print("SAID" + json.dumps(said | {{"where": survey_lib.__file__, "known": known}}))
"""


def environment(folder: Path) -> Path:
    """The Python of a new environment that holds the dependencies of this one, and not the project."""
    venv.create(folder / "env", with_pip=False)
    site = next((folder / "env" / "lib").glob("python*/site-packages"))
    dependencies = [path for path in sys.path if path.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(dependencies) + "\n")
    return folder / "env" / "bin" / "python"


def clean() -> dict[str, str]:
    """The variables of the shell without those that lead to this checkout."""
    return {
        name: value
        for name, value in os.environ.items()
        if name != "PYTHONPATH" and not name.startswith("SURVEY_")
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built without a network."""
    out = tmp_path_factory.mktemp("wheel")
    copied = out / "source"
    names = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    for name in filter(None, names.stdout.split("\0")):
        if name.startswith(("survey_lib/", "data/literature/")) or name in (
            "pyproject.toml",
            "README.md",
            "LICENSE",
        ):
            (copied / name).parent.mkdir(parents=True, exist_ok=True)
            (copied / name).write_bytes((ROOT / name).read_bytes())
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(out)!r})"  # as pip does
    subprocess.run([sys.executable, "-c", build], cwd=copied, check=True, capture_output=True, text=True)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def said(wheel, tmp_path_factory) -> dict:
    """What each command says in an environment that holds the wheel and its dependencies, in an empty folder."""
    folder = tmp_path_factory.mktemp("clean")
    python = environment(folder)
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--ignore-installed",
        str(wheel),
    ]
    subprocess.run(install, check=True, capture_output=True, text=True)
    (empty := folder / "empty").mkdir()
    done = subprocess.run([python, "-c", SCRIPT], cwd=empty, env=clean(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(empty.iterdir()) == []
    return json.loads(done.stdout.partition("SAID")[2])


def test_the_wheel_holds_the_library_and_the_literature(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if name.endswith("literature/papers.csv")]
    assert not [
        name for name in names if name.startswith(("tests/", "notebooks/")) or "eurosat32_mini" in name
    ]


def test_the_installed_package_is_the_one_that_runs(said):
    assert "/clean" in said["where"] and str(ROOT) not in said["where"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("methods", "6 methods"),
        ("described", "SliceGPT"),
        ("cite", "@inproceedings{li2017pruning,"),
        ("doctor", "data digits"),
        ("prune", "50.0% of the weights removed"),
    ],
)
def test_what_works_without_the_repository(said, name, words):
    code, output = said[name]
    assert code == 0 and words in output


@pytest.mark.parametrize("name", ["no data", "results", "status", "figure", "notebooks"])
def test_what_needs_the_repository_says_so(said, name):
    code, output = said[name]
    assert code == 1 and "part of the repository" in output


def test_results_of_python_are_refused_too(said):
    assert "part of the repository" in said["known"]


def test_the_cell_for_colab_fetches_and_installs_the_course(tmp_path, monkeypatch):
    """Its commands, in a clean environment; the address leads to a clone of this repository, and nothing is downloaded."""
    where = Address("https://github.com/someone/pruning", "v0.2.0")
    origin = tmp_path / "origin"
    git = ["git", "-c", "user.name=x", "-c", "user.email=x", "-C", str(ROOT)]
    subprocess.run(
        [*git, "clone", "--quiet", "--bare", "--depth", "1", f"file://{ROOT}", str(origin)], check=True
    )
    subprocess.run(["git", "-C", str(origin), "tag", where.tag], check=True)
    python = environment(tmp_path)
    env = clean() | {
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "PIP_NO_DEPS": "1",
        "PIP_IGNORE_INSTALLED": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_NO_INDEX": "1",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{origin}.insteadOf",
        "GIT_CONFIG_VALUE_0": where.home,
    }
    monkeypatch.setattr(generate, "address", lambda: where)
    commands = [line.removeprefix("!") for line in generate.colab().splitlines() if line.startswith("!")]
    assert len(commands) == 2
    for command in commands:
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    code = "import survey_lib; print(len(survey_lib.results('comparison')), survey_lib.__file__)"
    done = subprocess.run(
        [python, "-c", code], cwd=tmp_path / "pruning" / "notebooks", env=env, capture_output=True, text=True
    )
    count, file = done.stdout.split()
    assert int(count) > 0 and file.startswith(str(tmp_path))
