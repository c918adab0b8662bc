"""Where the project is published: the address in CITATION.cff, from which every link, button and citation is made."""

import re
from typing import NamedTuple

import yaml

from survey_lib.repository import REPOSITORY

FILE = REPOSITORY / "CITATION.cff"


class Address(NamedTuple):
    """The page of a repository on GitHub, and the tag or branch that is read and launched."""

    home: str
    tag: str


def about() -> dict:
    """What CITATION.cff says of the project: title, abstract, version, authors, and its address once it has one."""
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


def address() -> Address | None:
    """The `repository-code` of CITATION.cff at the tag of its version; None before it is written there.

    Raises
    ------
    ValueError
        For an address that is not one of GitHub.
    """
    said = about() if FILE.is_file() else {}
    if (home := said.get("repository-code")) is None:
        return None
    if not re.fullmatch(r"https://github\.com/[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+", home):
        raise ValueError(f"repository-code of {FILE} is https://github.com/OWNER/NAME; got {home!r}")
    return Address(home, f"v{said['version']}")
