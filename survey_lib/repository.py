"""Where the files of the project lie: in its repository, or, for an installed wheel, in the folder of the command."""

from __future__ import annotations

from importlib.metadata import files
from pathlib import Path

_SOURCE = Path(__file__).resolve().parents[1]
REPOSITORY = _SOURCE if (_SOURCE / "pyproject.toml").is_file() else Path.cwd()


def _literature() -> Path:
    """The tables of papers: in the repository, or where the wheel put its copy."""
    here = REPOSITORY / "data" / "literature"
    shipped = (
        [path for path in files("survey_lib") or () if path.name == "papers.csv"] if not here.is_dir() else []
    )
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
        raise FileNotFoundError(
            f"{path} is not there: it is part of the repository, not of the installed package; "
            "clone the repository and run the command inside it"
        )
    return path
