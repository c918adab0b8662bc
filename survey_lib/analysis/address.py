"""Where the project is published: the address in CITATION.cff, from which every link, button and citation is made."""

import re
from dataclasses import dataclass

import yaml

from survey_lib.repository import REPOSITORY

FILE = REPOSITORY / "CITATION.cff"


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
    if not (found := re.fullmatch(r"https://github\.com/([A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+)", home)):
        raise ValueError(f"repository-code of {FILE} is https://github.com/OWNER/NAME; got {home!r}")
    return Address(found[1], f"v{said['version']}")
