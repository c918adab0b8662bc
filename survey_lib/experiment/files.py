"""Write files in one step, and never over what another hand wrote.

A folder of results keeps `.survey-written`: sha256 and name of each file placed there, as `sha256sum --check`
reads them. A file may be replaced only while it is what that list says. What is unfinished is called
`.survey-making-…`.
"""

import hashlib
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

WRITTEN = ".survey-written"
LISTED = re.compile(r"[0-9a-f]{64}  .+")
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
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
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
        raise FileNotFoundError(
            f"{path.parent} is not a folder; make it first, or write {path.name} elsewhere"
        )
    return path


@contextmanager
def into(folder: Path, names: Iterable[str] = ()) -> Iterator[Path]:
    """A temporary folder whose files move into `folder` at the end.

    A link is never written through.

    Parameters
    ----------
    folder : Path
        Where the files go.
    names : Iterable[str], default ()
        Files that will be written.

    Raises
    ------
    FileExistsError
        For a file of another hand in their way: before any work for those in `names`, and in any case
        before anything is moved.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remove_stale(folder)
    refuse_foreign(folder, names)
    with tempfile.TemporaryDirectory(dir=folder, prefix=TEMPORARY) as temporary:
        yield Path(temporary)
        made = sorted(path.name for path in Path(temporary).iterdir())
        refuse_foreign(folder, made)
        for name in made:
            _note(Path(temporary), [name], folder)
            os.replace(Path(temporary) / name, folder / name)


@contextmanager
def anew(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of `folder` at the end.

    Raises
    ------
    FileExistsError
        Before any work, if that holds anything of another hand.
    """
    folder = folder.absolute()
    refuse_foreign(folder, _inside(folder))
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_stale(folder.parent)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=TEMPORARY) as temporary:
        fresh = Path(temporary) / "new"
        fresh.mkdir()
        yield fresh
        _note(fresh, _inside(fresh), fresh)
        refuse_foreign(folder, _inside(folder))
        if folder.exists():
            os.replace(folder, Path(temporary) / "old")
        os.replace(fresh, folder)


def _inside(folder: Path) -> list[str]:
    """Names of all files and links in a folder and below it; PermissionError for a folder that cannot be looked into."""
    if folder.is_symlink() or folder.is_file():
        raise FileExistsError(f"{folder} is a link or a file; give a new folder")
    inside = os.walk(folder, onerror=_unless_absent)
    paths = (Path(parent, name) for parent, folders, names in inside for name in (*folders, *names))
    return sorted(str(path.relative_to(folder)) for path in paths if path.is_symlink() or not path.is_dir())


def _unless_absent(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _note(source: Path, names: list[str], folder: Path) -> None:
    """Add files, lying in `source` so far, to the list of a folder; one write, so that processes may share it."""
    lines = "".join(f"{_digest(source / name)}  {name}\n" for name in names)
    with open(folder / WRITTEN, "a", encoding="utf-8") as file:
        file.write(lines)


def refuse_foreign(folder: Path, names: Iterable[str]) -> None:
    """Check that no file of another hand is in the way.

    Parameters
    ----------
    folder : Path
        Where files will be written.
    names : Iterable[str]
        Names of these files.

    Raises
    ------
    FileExistsError
        For the first name that is no file, or a file that the folder's list does not know.
    """
    listed = folder / WRITTEN
    plain = listed.is_file() and not listed.is_symlink()
    written = set(listed.read_text(errors="replace").splitlines()) if plain else set()
    a_list = all(map(LISTED.fullmatch, written))
    for name in (*names, WRITTEN):
        path = folder / name
        plain = path.is_file() and not path.is_symlink()
        ours = plain and (a_list if name == WRITTEN else f"{_digest(path)}  {name}" in written)
        if os.path.lexists(path) and not ours:
            raise FileExistsError(
                f"{path} was not written by survey, or was changed since; nothing is overwritten: "
                "give another folder, or move it away"
            )
