"""The commit of the library's source, for records of runs and data sheets of figures."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path


@cache
def commit() -> str:
    """First 12 digits of the commit, then `-changed` when files of the library differ from it or are new.

    Empty outside the repository of this library.
    """
    # Installed, perhaps inside somebody's repository
    if not (Path(__file__).parents[2] / "pyproject.toml").is_file():
        return ""
    git = ["git", "-C", str(Path(__file__).parents[1])]
    try:
        head = subprocess.check_output(
            [*git, "rev-parse", "--short=12", "HEAD"], text=True, stderr=subprocess.DEVNULL
        )
        changed = subprocess.check_output([*git, "status", "--porcelain", "--", "."])
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.strip() + ("-changed" if changed else "")
