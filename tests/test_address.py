"""One address, set once: links, buttons and citations with it, and nothing in their place without it."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from survey_lib.analysis import address as addresses
from survey_lib.analysis.address import Address, set_address
from survey_lib.figures.catalogue import draw
from survey_lib.site import citation, readme
from survey_lib.site.readme import PARTS, README, generated

ROOT = Path(__file__).parents[1]
PLACEHOLDER = re.compile(r"OWNER|/REPO\b|/TAG\b|Author name not set|YOUR[-_ ]?NAME")
WHERE = Address("someone/pruning", "v0.2.0")


@pytest.fixture
def published(monkeypatch):
    """The project with an address."""
    for module in (readme, citation, draw):
        monkeypatch.setattr(module, "address", lambda: WHERE)
    monkeypatch.setattr(citation, "released", lambda: "2026-11-26")


@pytest.fixture
def nowhere(monkeypatch):
    for module in (readme, citation, draw):
        monkeypatch.setattr(module, "address", lambda: None)


@pytest.mark.parametrize("path", PARTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_generated_parts_are_current(path):
    text = path.read_text(encoding="utf-8")
    assert generated(text, PARTS[path]) == text, "run `survey generate`"


def test_a_text_without_marks_is_refused():
    with pytest.raises(ValueError, match="lacks the marks <!-- begin notebooks -->"):
        generated("# Title", {"notebooks": str})


def test_readme_is_short_and_names_no_number_by_hand_in_its_findings():
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 150
    first = "\n".join(text.splitlines()[:20])
    assert "**For whom?**" in first and "](docs/figures/tradeoff.png)" in first
    assert all(f"| [{other}](" in text for other in ("Torch-Pruning", "FasterAI", "UvA Deep Learning"))
    assert "95 % interval" in readme.findings() and readme.findings() in text
    assert re.findall(r"n = \d+ seeds", readme.findings())


def test_without_an_address_nothing_is_launched_and_no_placeholder_stands_in(nowhere):
    texts = [
        readme.badges(),
        readme.notebooks(),
        readme.colab(),
        citation.cff(),
        citation.bibtex(),
        draw.cite("tradeoff"),
    ]
    assert not [
        text for text in texts if "github.com" in text or "mybinder" in text or PLACEHOLDER.search(text)
    ]


@pytest.mark.parametrize(
    "path", [*PARTS, ROOT / "CITATION.cff", ROOT / ".zenodo.json"], ids=lambda path: path.name
)
def test_no_placeholder_in_what_is_committed(path):
    assert not PLACEHOLDER.search(path.read_text(encoding="utf-8"))


def test_with_an_address_every_notebook_is_launched(published):
    table = readme.notebooks()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"mybinder.org/v2/gh/someone/pruning/v0.2.0?urlpath=lab/tree/notebooks/{path.name}" in table
        assert f"colab.research.google.com/github/someone/pruning/blob/v0.2.0/notebooks/{path.name}" in table
    assert "git clone --depth 1 --branch v0.2.0 https://github.com/someone/pruning" in readme.colab()


def test_citations_carry_the_address_the_date_and_the_authors_of_pyproject(published):
    cited = yaml.safe_load(citation.cff())
    assert (cited["url"], cited["date-released"]) == ("https://github.com/someone/pruning", "2026-11-26")
    assert [author["name"] for author in cited["authors"]] == citation.authors()
    assert json.loads(citation.zenodo())["creators"] == [{"name": name} for name in citation.authors()]
    assert "url = {https://github.com/someone/pruning}" in citation.bibtex()


def test_citation_files_are_current():
    assert (ROOT / "CITATION.cff").read_text(encoding="utf-8") == citation.cff()
    assert (ROOT / ".zenodo.json").read_text(encoding="utf-8") == citation.zenodo()


def test_a_figure_is_cited_by_the_commit_of_its_publication_and_its_sha256(published):
    text = draw.cite("tradeoff")
    commit = re.search(
        r"url = \{https://github.com/someone/pruning/blob/([0-9a-f]{40})/docs/figures/tradeoff.png\}", text
    )[1]
    changed = ["git", "-C", str(ROOT), "rev-list", "-1", "HEAD", "--", "docs/figures/tradeoff.png"]
    assert commit == subprocess.check_output(changed, text=True).strip()
    assert f"commit {commit}" in text and re.search(r"sha256 [0-9a-f]{64}", text)


def test_the_address_is_set_changed_and_taken_out_in_one_file(tmp_path, monkeypatch):
    file = tmp_path / "pyproject.toml"
    before = re.sub(r"(# begin address.*\n)(.*\n)*?(# end)", r"\1\3", (ROOT / "pyproject.toml").read_text())
    file.write_text(before)
    monkeypatch.setattr(addresses, "FILE", file)
    assert addresses.address() is None and addresses.released() == ""
    set_address("someone/pruning", "v0.2.0", "2026-11-26", file)
    assert (addresses.address(), addresses.released()) == (WHERE, "2026-11-26")
    set_address("other/one", "main", "2026-11-27", file)
    assert addresses.address() == Address("other/one", "main")
    set_address("", "", "", file)
    assert file.read_text() == before


@pytest.mark.parametrize(("name", "tag"), [("owner", "v1"), ("a/b/c", "v1"), ("a/b", "v 1"), ('a/b"', "v1")])
def test_an_address_that_is_none_is_refused(name, tag, tmp_path):
    with pytest.raises(ValueError, match="owner/name on GitHub"):
        set_address(name, tag, "2026-11-26", tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("remote", "name"),
    [
        ("https://github.com/a/b.git", "a/b"),
        ("git@github.com:a/b.git", "a/b"),
        ("https://github.com/a/b", "a/b"),
        ("/home/me/b.git", ""),
        ("https://git.example.org/a/b.git", ""),
    ],
)
def test_a_remote_is_an_address_if_it_is_on_github(remote, name, monkeypatch):
    import subprocess

    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    monkeypatch.setattr(
        addresses.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, remote + "\n")
    )
    assert addresses.guessed() == name
    monkeypatch.setenv("GITHUB_REPOSITORY", "ci/run")
    assert addresses.guessed() == "ci/run"
