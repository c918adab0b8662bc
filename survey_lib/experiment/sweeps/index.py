"""The index of a folder of runs: what tables need of each file, so that a file that did not change is not read.

The index is a cache and nothing more: an entry holds for one size, time and inode of its file, and for one
version of the code that makes rows. Without it, or where it cannot be written, every file is read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

from survey_lib.experiment import files
from survey_lib.experiment.records import schema
from survey_lib.experiment.runs import record_json
from survey_lib.experiment.runs.config import SCHEMA
from survey_lib.experiment.sweeps import results_table

NAME = ".index"


def rows(folder: Path, read: Callable[[Path], dict | None]) -> dict[str, dict]:
    """Row of each run in `folder` by key, sorted.

    Only files that are new or changed since the last call are read.

    Parameters
    ----------
    folder : Path
        Folder of a study's runs.
    read : Callable[[Path], dict | None]
        Makes the row of a file, or None for a damaged one.
    """
    known, found, changed = _load(folder / NAME), {}, False
    for name, stamp in sorted(_stamps(folder)):
        entry = known.pop(name, None)
        if entry is None or entry[0] != stamp:
            row, changed = read(folder / name), True
            entry = row and [stamp, row]
        if entry:
            found[name] = entry
    if changed or known:  # what is left in `known` has no file any more
        with contextlib.suppress(OSError):  # a read-only or full disk: the next reader reads the files again
            content = json.dumps(found)
            files.replace(folder / NAME, f"{_head(content.encode())}\n{content}")
    return {name.removesuffix(".json"): row for name, (_, row) in found.items()}


def _stamps(folder: Path) -> list[tuple[str, list[int]]]:
    """Name and [size, time in ns, inode] of each run's file."""
    found = []
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".json"):
                with contextlib.suppress(OSError):  # another sweep just set it aside, or a link leads nowhere
                    about = entry.stat()
                    found.append((entry.name, [about.st_size, about.st_mtime_ns, about.st_ino]))
    return found


def _load(path: Path) -> dict[str, list]:
    try:
        head, _, content = path.read_bytes().partition(b"\n")
        return json.loads(content) if head == _head(content).encode() else {}
    except OSError:
        return {}


def _head(content: bytes) -> str:
    """First line of an index: who made it, and the hash of the rest, so that damage is noticed."""
    return f"{_maker()}, {hashlib.sha256(content).hexdigest()}"


@cache
def _maker() -> str:
    """A hash of the code that makes rows: a changed column makes every entry stale."""
    code = b"".join(Path(module.__file__).read_bytes() for module in (record_json, schema, results_table))
    return f"schema {SCHEMA}, {hashlib.sha256(code).hexdigest()[:16]}"
