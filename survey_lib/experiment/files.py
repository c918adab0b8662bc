"""Write files in one step, and never over what another hand wrote.

A folder of results keeps `.survey-written`: sha256 and name of each file placed there, as `sha256sum --check`
reads them. A file may be replaced only while it is what that list says. What is unfinished is called
`.survey-making-…`.
"""

import hashlib
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

WRITTEN = ".survey-written"
TEMPORARY = ".survey-making-"
ASIDE = "set-aside"
STALE = 24 * 3600  # seconds


def replace(path: Path, content: str | bytes) -> Path:
    """Write `content` beside `path`, flush it to the disk, and give it the name.

    A failure leaves the old file.

    Parameters
    ----------
    path : Path
        The file.
    content : str | bytes
        Content of the new file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(TEMPORARY + uuid.uuid4().hex)
    try:
        with open(temporary, "xb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def remove_stale(folder: Path) -> None:
    """Remove what writers that were killed left unfinished, once nobody has touched it for a day."""
    for path in folder.glob(f"{TEMPORARY}*"):
        with suppress(OSError):
            if time.time() - path.lstat().st_mtime > STALE:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def check_plain(path: Path) -> None:
    """ValueError for what is there and is no file: a folder, a pipe that would be waited for, links in a circle."""
    if os.path.lexists(path) and not path.is_file():
        raise ValueError("it is no file")


def verified(path: Path, sha256: str, remedy: str) -> bytes:
    """The content of a file that has this sha256.

    Parameters
    ----------
    path : Path
        The file.
    sha256 : str
        What it must have.
    remedy : str
        What to do where it has another.

    Raises
    ------
    ValueError
        For a file that has another sha256; the text ends with the remedy.
    """
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(f"{path} has sha256 {found}, expected {sha256}; {remedy}")
    return content


def set_aside(path: Path) -> Path:
    """Move what lies at `path` into the folder `set-aside` beside it, under a name that nothing has there."""
    aside = path.parent / ASIDE / f"{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}"
    aside.parent.mkdir(exist_ok=True)
    return path.rename(aside)


def new(path: Path) -> Path:
    """The path, if a file can be made there.

    FileExistsError or FileNotFoundError says what stands in the way.
    """
    if os.path.lexists(path):
        raise FileExistsError(f"{path} is there already; give another name, or delete it first")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} is not a folder; make it first")
    return path


@contextmanager
def into(folder: Path, names: Iterable[str] = (), alone: bool = False) -> Iterator[Path]:
    """A temporary folder whose files move into `folder` at the end.

    A link is never written through.

    Parameters
    ----------
    folder : Path
        Where the files go.
    names : Iterable[str], default ()
        Files that will be written.
    alone : bool, default False
        Older files in the folder, and in folders inside it, are removed then.

    Raises
    ------
    FileExistsError
        For a file of another hand in their way, or, if `alone`, anywhere in the folder: before any work, and
        again before anything is moved.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_stale(folder)
    _refuse_foreign(folder, _inside(folder) if alone else names)
    with tempfile.TemporaryDirectory(dir=folder, prefix=TEMPORARY) as temporary:
        fresh = Path(temporary)
        yield fresh
        made, old = _inside(fresh), _inside(folder) if alone else []
        _refuse_foreign(folder, (*made, *old))
        for name in made:
            with open(folder / WRITTEN, "a", encoding="utf-8") as file:  # one write: processes may share it
                file.write(_line(fresh, name))
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(fresh / name, folder / name)
        for name in {*old} - {*made, WRITTEN}:
            (folder / name).unlink()


def _inside(folder: Path) -> list[str]:
    """Names of all files and links in a folder and below it, but of what is unfinished."""
    found = []
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(TEMPORARY):
            found += [f"{entry.name}/{name}" for name in _inside(Path(entry))]
        elif not entry.name.startswith(TEMPORARY):
            found.append(entry.name)
    return sorted(found)


def _line(folder: Path, name: str) -> str:
    return f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"


def _refuse_foreign(folder: Path, names: Iterable[str]) -> None:
    """FileExistsError for the first name that is no file, or a file that the folder's list does not know."""
    listed = folder / WRITTEN
    text = listed.read_text(errors="replace") if listed.is_file() else ""
    written = set(text.splitlines(keepends=True))
    for name in (*names, WRITTEN):
        path = folder / name
        if not os.path.lexists(path):
            continue
        plain = path.is_file() and not path.is_symlink()
        if not plain or (path.stat().st_nlink > 1 if path == listed else _line(folder, name) not in written):
            why = f"{path} was not written by survey, or was changed since; nothing is overwritten"
            raise FileExistsError(f"{why}: give another folder, or move it away")
