"""One address, written once: links, buttons and citations with it, and nothing in their place without it."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from notebook_form import uncommented

import survey_lib
from survey_lib.analysis import address as addresses
from survey_lib.analysis.address import Address
from survey_lib.course.prose import faults
from survey_lib.figures import catalogue
from survey_lib.site import generate
from survey_lib.site.generate import PARTS, README, generated

ROOT = Path(__file__).parents[1]
PLACEHOLDER = re.compile(r"OWNER|/REPO\b|/TAG\b|Author name not set|YOUR[-_ ]?NAME")
WHERE = Address("https://github.com/someone/pruning", "v0.2.0")


def cited_at(home, tmp_path, monkeypatch):
    """The project with this address in its CITATION.cff, without one for None."""
    text = yaml.safe_load((ROOT / "CITATION.cff").read_text()) | {"version": "0.2.0"}
    if home:
        text |= {"repository-code": home, "date-released": "2026-11-26"}
    (tmp_path / "CITATION.cff").write_text(yaml.safe_dump(text))
    monkeypatch.setattr(addresses, "FILE", tmp_path / "CITATION.cff")


@pytest.fixture
def published(tmp_path, monkeypatch):
    cited_at(WHERE.home, tmp_path, monkeypatch)


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    cited_at(None, tmp_path, monkeypatch)


@pytest.mark.parametrize("path", PARTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_generated_parts_are_current(path):
    text = path.read_text(encoding="utf-8")
    assert generated(text, PARTS[path]) == text, "run `survey generate`"


def test_a_text_without_marks_is_refused():
    with pytest.raises(ValueError, match="lacks the marks <!-- begin notebooks -->"):
        generated("# Title", {"notebooks": str})


def test_readme_is_short_and_names_no_number_by_hand_in_its_findings():
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 165
    first = "\n".join(text.splitlines()[:20])
    assert "**For whom?**" in first and "](docs/figures/tradeoff.png)" in first
    assert all(f"| [{other}](" in text for other in ("Torch-Pruning", "FasterAI", "UvA Deep Learning"))
    assert text.count("<!--= ") > 8 and faults(README) == [] and uncommented(README.read_text()) == []


def test_without_an_address_nothing_is_launched_and_no_placeholder_stands_in(nowhere):
    texts = [
        generate.badges(),
        generate.notebooks(),
        generate.colab(),
        generate.citation(),
        catalogue.cite("tradeoff"),
    ]
    assert not [
        text for text in texts if "github.com" in text or "mybinder" in text or PLACEHOLDER.search(text)
    ]


@pytest.mark.parametrize("path", [*PARTS, ROOT / "CITATION.cff"], ids=lambda path: path.name)
def test_no_placeholder_in_what_is_committed(path):
    assert not PLACEHOLDER.search(path.read_text(encoding="utf-8"))


def test_with_an_address_the_course_is_launched(published):
    path = "notebooks/00_start_here.ipynb"
    assert f"mybinder.org/v2/gh/someone/pruning/v0.2.0?urlpath=lab/tree/{path}" in generate.badges()
    assert f"colab.research.google.com/github/someone/pruning/blob/v0.2.0/{path}" in generate.badges()
    assert "git clone --depth 1 --branch v0.2.0 https://github.com/someone/pruning" in generate.colab()


def test_the_citation_carries_the_address_the_date_and_the_authors(published):
    cited = generate.citation()
    assert "url = {https://github.com/someone/pruning}" in cited and "year = {2026}" in cited
    assert "version = {0.2.0}" in cited and "author = {{The survey_lib maintainers}}" in cited


def test_the_citation_file_names_the_version_and_the_authors_of_the_package():
    cited, package = addresses.about(), tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert cited["version"] == survey_lib.__version__
    assert cited["authors"] == package["authors"]


def test_a_figure_is_cited_by_the_commit_of_its_publication_and_its_sha256(published):
    text = catalogue.cite("tradeoff")
    commit = re.search(
        r"url = \{https://github.com/someone/pruning/blob/([0-9a-f]{40})/docs/figures/tradeoff.png\}", text
    )[1]
    changed = ["git", "-C", str(ROOT), "rev-list", "-1", "HEAD", "--", "docs/figures/tradeoff.png"]
    assert commit == subprocess.check_output(changed, text=True).strip()
    assert f"commit {commit}" in text and re.search(r"sha256 [0-9a-f]{64}", text)


def test_the_address_is_that_of_the_citation_file_at_the_tag_of_its_version(published):
    assert addresses.address() == WHERE


def test_without_one_there_is_no_address(nowhere):
    assert addresses.address() is None


@pytest.mark.parametrize(
    "home", ["owner", "https://github.com/a/b/c", "https://example.org/a/b", 'https://github.com/a/b"']
)
def test_an_address_that_is_none_is_refused(home, tmp_path, monkeypatch):
    cited_at(home, tmp_path, monkeypatch)
    with pytest.raises(ValueError, match="https://github.com/OWNER/NAME"):
        addresses.address()
