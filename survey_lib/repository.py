"""The repository of the project: where its files lie, also for an installed wheel, and the commit of the source."""

import subprocess
from collections.abc import Iterable
from functools import cache
from importlib.metadata import distributions, files
from pathlib import Path

_SOURCE = Path(__file__).resolve().parents[1]
REPOSITORY = _SOURCE if (_SOURCE / "pyproject.toml").is_file() else Path.cwd()


def _literature() -> Path:
    """The tables of papers: in the repository, or where the wheel put its copy."""
    here = REPOSITORY / "data" / "literature"
    shipped = [] if here.is_dir() else [p for p in files("survey_lib") or () if p.name == "papers.csv"]
    return Path(shipped[0].locate()).parent if shipped else here


LITERATURE = _literature()


def needed(path: Path) -> Path:
    """The path, if it is there.

    Raises
    ------
    FileNotFoundError
        If it is not; the text says where it comes from.
    """
    if not path.exists():
        why = "it is part of the repository, not of the installed package"
        raise FileNotFoundError(f"{path} is not there: {why}; run the command inside a clone")
    return path


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The version of each package, empty where it is not installed."""
    return {name: next((found.version for found in distributions(name=name)), "") for name in packages}


@cache
def commit() -> str:
    """First 12 digits of the commit, then `-changed` when files of the library differ from it or are new.

    Empty outside the repository of this library.
    """
    if not (_SOURCE / "pyproject.toml").is_file():  # installed, perhaps inside somebody's repository
        return ""
    git = ["git", "-C", str(_SOURCE / "survey_lib")]
    try:
        head = subprocess.check_output(
            [*git, "rev-parse", "--short=12", "HEAD"], text=True, stderr=subprocess.DEVNULL
        )
        changed = subprocess.check_output([*git, "status", "--porcelain", "--", "."])
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.strip() + ("-changed" if changed else "")
