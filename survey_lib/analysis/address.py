"""Where the project is published: one address in pyproject.toml, from which every link, button and citation is made."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

from survey_lib.experiment.data.sources import REPOSITORY

FILE = REPOSITORY / "pyproject.toml"
PART = re.compile(r"(# begin address.*?\n).*?(# end address)", re.DOTALL)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+")
HOSTED = re.compile(r"github\.com[:/](?P<name>[^/\s]+/[^/\s]+?)(?:\.git)?/?$")


@dataclass(frozen=True)
class Address:
    """A repository on GitHub and the tag or branch that is read and launched."""

    name: str  # owner/name
    tag: str

    @property
    def home(self) -> str:
        """Its page on GitHub."""
        return f"https://github.com/{self.name}"

    @property
    def site(self) -> str:
        """Where its GitHub Pages are."""
        owner, _, name = self.name.partition("/")
        return f"https://{owner}.github.io/{name}"

    def file(self, path: str) -> str:
        """Where a file of the repository is read.

        Examples
        --------
        >>> Address("a/b", "v1").file("LICENSE")
        'https://github.com/a/b/blob/v1/LICENSE'
        """
        return f"{self.home}/blob/{self.tag}/{path}"

    def launches(self, notebook: str) -> dict[str, str]:
        """Service -> where it opens a notebook, such as 07_filter_pruning."""
        path = f"notebooks/{notebook}.ipynb"
        return {
            "Binder": f"https://mybinder.org/v2/gh/{self.name}/{self.tag}?urlpath=lab/tree/{path}",
            "Colab": f"https://colab.research.google.com/github/{self.name}/blob/{self.tag}/{path}",
        }

    def colab_setup(self) -> list[str]:
        """Commands that make a notebook run where only torch is installed."""
        folder = self.name.partition("/")[2]
        return [
            f"git clone --depth 1 --branch {self.tag} {self.home}",
            f"python -m pip install --quiet -e {folder}",
        ]


def _content() -> dict:
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


def project() -> dict:
    """The table [project] of pyproject.toml: authors, description, licence, urls."""
    return _content()["project"]


def released() -> str:
    """The date of the release that the address names, as YYYY-MM-DD; empty without one."""
    return _content().get("tool", {}).get("survey", {}).get("released", "")


def address() -> Address | None:
    """The address in pyproject.toml, None before it was set (`survey generate --address owner/name --tag v1`)."""
    if not FILE.is_file():
        return None
    content = _content()
    home = content["project"].get("urls", {}).get("Repository")
    return Address(HOSTED.search(home)["name"], content["tool"]["survey"]["tag"]) if home else None


def guessed() -> str:
    """owner/name by GITHUB_REPOSITORY, or by the git remote `origin` if it is on GitHub; else empty."""
    if name := os.environ.get("GITHUB_REPOSITORY"):
        return name
    done = subprocess.run(
        ["git", "-C", str(REPOSITORY), "remote", "get-url", "origin"], capture_output=True, text=True
    )
    found = HOSTED.search(done.stdout.strip())
    return found["name"] if found else ""


def set_address(name: str, tag: str, date: str, file: Path = FILE) -> Path:
    """Write the address into pyproject.toml, or take it out.

    Parameters
    ----------
    name : str
        owner/name on GitHub; empty takes the address out.
    tag : str
        The tag or branch that is read and launched.
    date : str
        Date of the release.
    file : Path, default FILE
        Path of pyproject.toml.

    Raises
    ------
    ValueError
        Unless it is owner/name and a tag.
    """
    if name and not (NAME.fullmatch(name) and re.fullmatch(r"[\w.-]+", tag)):
        raise ValueError(
            f"the address is owner/name on GitHub and a tag or branch such as v0.2.0; got {name!r} and {tag!r}"
        )
    lines = (
        [
            "[project.urls]",
            f'Repository = "https://github.com/{name}"',
            "",
            "[tool.survey]",
            f'tag = "{tag}"',
            f'released = "{date}"',
            "",
        ]
        if name
        else []
    )
    text = file.read_text(encoding="utf-8")
    file.write_text(PART.sub(lambda found: found[1] + "\n".join(lines) + found[2], text), encoding="utf-8")
    return file
