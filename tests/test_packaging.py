"""One truth about what is needed: pyproject, lock, both environment files, Makefile and CI agree."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import survey_lib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ON_CONDA = {"torch": {"environment.yml": "pytorch", "binder/environment.yml": "pytorch-cpu"}}
PIP_ONLY = {"torch-pruning"}
GROUPS = {"environment.yml": ("deploy", "dask", "dev"), "binder/environment.yml": ("deploy",)}
IMPORTED_AS = {
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "pillow": "PIL",
    "pytorch-cpu": "torch",
    "jupyterlab": "IPython",
}


def required(*groups: str) -> dict[str, SpecifierSet]:
    """Requirements of pyproject with the extras of these groups: canonical name -> specifier."""
    lines = list(PROJECT["dependencies"])
    for group in groups:
        lines += PROJECT["optional-dependencies"][group]
    return {canonicalize_name(Requirement(line).name): Requirement(line).specifier for line in lines}


def conda(path: str) -> dict[str, str]:
    """Dependencies of an environment file: name -> version spec."""
    lines = yaml.safe_load((ROOT / path).read_text())["dependencies"]
    return {re.split("[=<>]", line)[0]: line[len(re.split("[=<>]", line)[0]) :] for line in lines}


def locked() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().split()
    return {canonicalize_name(line.partition("==")[0]): line.partition("==")[2] for line in lines}


@pytest.mark.parametrize("path", GROUPS)
def test_conda_files_ask_for_what_pyproject_asks_for(path):
    wanted = {name: spec for name, spec in required(*GROUPS[path]).items() if name not in PIP_ONLY}
    found = conda(path)
    names = {ON_CONDA.get(name, {}).get(path, name): spec for name, spec in wanted.items()}
    assert set(found) - {"python", "pip"} == set(names)
    for name, spec in names.items():
        if found[name].startswith(">="):
            assert found[name] == str(spec), name
        else:
            assert spec.contains(found[name].lstrip("=")), name


@pytest.mark.parametrize("path", GROUPS)
def test_conda_files_pin_a_python_the_project_supports(path):
    """repo2docker silently takes Python 3.10 for anything but an exact pin."""
    assert conda(path)["python"] == "=3.12"
    assert SpecifierSet(PROJECT["requires-python"]).contains("3.12")


def test_lock_satisfies_every_requirement():
    versions = locked()
    for name, spec in required("dask", "deploy", "dev").items():
        assert spec.contains(versions[name]), f"{name}=={versions[name]} against {spec}"
    assert (versions["torch"], versions["torchvision"]) == ("2.14.1", "0.29.1")


def test_lock_leaves_room_for_cpu_builds():
    assert not [name for name in locked() if name.startswith(("nvidia", "cuda", "triton"))]


def imports(source: str) -> set[str]:
    """Top-level names that a code cell imports."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_every_required_package_is_imported_by_the_library_or_called_by_make():
    called = {"jupyterlab": "jupyter lab", "nbval": "--nbval"}
    used = set().union(*(imports(path.read_text()) for path in (ROOT / "survey_lib").rglob("*.py")))
    unused = {name for name in required() if IMPORTED_AS.get(name, name) not in used}
    assert unused - called.keys() == set()
    assert all(called[name] in (ROOT / "Makefile").read_text() for name in unused)


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_b66_binder_provides_every_import_of_the_notebook(path):
    provided = {IMPORTED_AS.get(name, name) for name in conda("binder/environment.yml")} | {"survey_lib"}
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    wanted = set().union(*map(imports, cells)) - set(sys.stdlib_module_names)
    assert wanted <= provided, f"binder/environment.yml lacks {sorted(wanted - provided)}"


def test_b66_post_build_installs_the_package_and_never_a_second_torch():
    lines = (ROOT / "binder" / "postBuild").read_text().splitlines()
    assert "set -euo pipefail" in lines
    assert "python -m pip install --no-deps --no-cache-dir -e ." in lines
    assert (ROOT / "binder" / "start").read_text().rstrip().endswith('exec "$@"')


@pytest.mark.parametrize("path", ["binder/postBuild", "binder/start", ".ci/run"])
def test_scripts_are_executable(path):
    assert os.access(ROOT / path, os.X_OK)


@pytest.mark.skipif(shutil.which("repo2docker") is None, reason="repo2docker is not installed")
def test_b66_repo2docker_finds_the_binder_environment():
    command = ["repo2docker", "--Repo2Docker.default_buildpack=None", "--no-build", "--debug", "."]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    said = done.stdout + done.stderr
    assert done.returncode == 0
    for part in ('--file "binder/environment.yml"', "./binder/postBuild", "R2D_ENTRYPOINT", "python=3.12"):
        assert part in said
    assert "No environment specification" not in said


def test_ci_and_the_workflow_call_make_test_and_nothing_else():
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "exec make test"
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())["jobs"]
    assert [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step] == ["make test"]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_without_a_venv_uses_the_python_it_is_given():
    command = ["make", "--no-print-directory", "--dry-run", "test", "VENV=", "PYTHON=/opt/conda/bin/python"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "\n/opt/conda/bin/pytest " in said and said.startswith("/opt/conda/bin/ruff ")
    assert "venv" not in said


def test_citation_file_is_complete_and_current():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "license"} <= set(cited)
    assert cited["version"] == survey_lib.__version__
    assert cited["references"][0]["doi"] == "10.17706/IJCCE.2022.11.2.10-23"


def test_licence_names_both_halves():
    text = (ROOT / "LICENSE").read_text()
    assert text.startswith("MIT License")
    assert "Attribution 4.0 International" in text


def test_no_folder_of_the_library_holds_more_than_twelve_files():
    folders = {path.parent for path in (ROOT / "survey_lib").rglob("*.py")}
    counts = {str(folder.relative_to(ROOT)): len(list(folder.glob("*.py"))) for folder in folders}
    assert counts["survey_lib/chain"] > 1
    assert not {folder: count for folder, count in counts.items() if count > 12}
