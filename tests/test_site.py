"""The source of the site: cards, tables, docstrings and notebooks, without Sphinx or a browser."""

import base64
import dataclasses
import io
import json
import re
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import nbformat
import pandas as pd
import pytest
import yaml
from PIL import Image

import survey_lib
from survey_lib.analysis import literature
from survey_lib.analysis.literature import papers, published
from survey_lib.catalogue import METHODS
from survey_lib.course import lesson
from survey_lib.experiment.data.sources import REPOSITORY
from survey_lib.figures.catalogue import FIGURES
from survey_lib.site import pages
from survey_lib.site.generate import figure_page, methods_table
from survey_lib.site.pages import card, formulas, numbers_table, paper, papers_table, reported, source, title
from survey_lib.site.web import for_web, html_table, plain

HOSTILE = '<script>alert("x")</script> & `tick` ```'


class Cells(HTMLParser):
    """Tags seen, and the text of each table cell."""

    def __init__(self):
        super().__init__()
        self.tags, self.cells, self.inside = [], [], False

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "td":
            self.cells.append("")
            self.inside = True

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "td"

    def handle_data(self, data):
        if self.inside:
            self.cells[-1] += data


def parsed(text: str) -> Cells:
    cells = Cells()
    cells.feed(text)
    return cells


def test_text_of_a_file_cannot_become_a_tag_or_end_the_block():
    table = html_table(pd.DataFrame({'head "<b>"': [HOSTILE]}))
    assert "script" not in parsed(table).tags and "b" not in parsed(table).tags
    assert parsed(table).cells == [HOSTILE]
    assert [line for line in table.splitlines() if line.startswith("`")] == ["````{raw} html", "````"]


def test_numbers_are_short_and_missing_ones_blank():
    assert parsed(html_table(pd.DataFrame({"x": [0.123456, float("nan")]}))).cells == ["0.1235", ""]


def test_every_formula_belongs_to_a_method():
    assert set(formulas()) <= set(METHODS)
    assert all(text.count("{") == text.count("}") for text in formulas().values())


def test_source_of_a_card_runs_without_the_docstring():
    text = source(METHODS["l1-filter"].score)
    assert text.splitlines()[0].startswith("def l1_filter(") and '"""' not in text
    assert text.splitlines()[-1] == "    return evidence.weight.flatten(1).abs().sum(1)"


def test_card_shows_formula_code_paper_numbers_and_own_results():
    text = card(METHODS["fpgm"])
    for part in (
        "\\lVert F_f - F_j \\rVert_2",
        "torch.pdist",
        "Geometric Median",
        "@inproceedings{he2019filter",
        "notebooks/07_filter_pruning.ipynb",
    ):
        assert part in text
    mean = pages.published()["comparison"].query("method == 'fpgm' and sparsity == 0.55")["accuracy"].mean()
    assert f"<td>{mean:.4g}</td>" in text


def test_card_of_a_method_without_paper_formula_and_runs_says_so():
    row = dataclasses.replace(METHODS["l1-filter"], name="brand-new", paper="", one_line=HOSTILE)
    text = card(row)
    assert "## Formula" not in text and "No published study" in text and "<script>" not in text


@pytest.fixture
def hostile(monkeypatch):
    """The literature data with a script in every text field of its first rows, and keys that no paper has."""
    table, numbers = papers().head(3).copy(), published().head(3).copy()
    for frame, kept in ((table, ["year", "arxiv_id", "doi", "code_url"]), (numbers, ["own"])):
        for column in frame.columns.difference(kept):
            if not pd.api.types.is_numeric_dtype(frame[column]):
                frame[column] = "````\n" + HOSTILE
    numbers["own"] = False
    monkeypatch.setattr(literature, "papers", lambda: table)
    monkeypatch.setattr(literature, "published", lambda: numbers)
    return table


def test_no_page_of_the_literature_runs_what_its_files_hold(hostile):
    for page in (papers_table(), numbers_table()):
        ticks, rest = page[page.index("`````") :].split("{raw} html\n", 1)
        block, after = rest.split(f"\n{ticks}\n", 1)
        assert set(ticks) == {"`"} and not {"script", "img"} & set(parsed(block).tags)
        assert "`````" not in after
    assert "\\<script\\>" in title(hostile.index[0])
    assert paper(hostile.index[0]).count("`````") == 2  # BibTeX between its own fences


def test_reported_numbers_put_the_authors_first():
    rows = published().query("paper_key == 'lin2020hrank'")
    text = reported("lin2020hrank")
    assert f"All {len(rows)} as" in text and f"{rows['own'].sum()} of them are by its own authors" in text
    assert parsed(text).cells[1] == "its authors"
    assert "published.html?words=lin2020hrank" in text


def test_scans_of_one_layer_are_no_result_of_a_method(monkeypatch):
    frame = pd.DataFrame({"method": ["magnitude", "magnitude"], "layer": [None, "conv1"], "status": "done"})
    monkeypatch.setattr(pages, "finished", lambda name, local: frame)
    pages.published.cache_clear()
    try:
        assert all(len(rows) == 1 for rows in pages.published().values())
    finally:
        pages.published.cache_clear()


def test_tables_of_the_literature_hold_every_row():
    assert papers_table().count("</tr>") == len(papers()) + 1
    assert numbers_table().count("</tr>") == len(published()) + 1


def test_methods_page_leads_to_every_card():
    text = methods_table()
    assert all(f'href="{name}.html"' in text for name in METHODS)


def test_a_figure_has_a_page_with_its_data_command_and_reference(tmp_path):
    page = figure_page("taxonomy", tmp_path)
    assert page.startswith(f"# {plain(FIGURES['taxonomy'].asks)}\n")
    for part in (
        "taxonomy.json",
        "survey figure taxonomy",
        "@misc{survey_lib:taxonomy",
        "sha256",
        "00_start_here",
    ):
        assert part in page
    assert len(json.loads((tmp_path / "taxonomy.json").read_text(encoding="utf-8"))["data"]) == len(METHODS)


def test_synonyms_name_pages_of_the_site():
    synonyms = yaml.safe_load((REPOSITORY / "docs" / "synonyms.yaml").read_text(encoding="utf-8"))
    lessons = {f"notebooks/{path.stem}" for path in (REPOSITORY / "notebooks").glob("*.ipynb")}
    assert set(synonyms) <= lessons | {f"methods/{name}" for name in METHODS}


def notebook(*cells) -> nbformat.NotebookNode:
    return nbformat.v4.new_notebook(cells=list(cells))


def test_notebook_on_the_site_links_files_and_folds_solutions():
    markdown = nbformat.v4.new_markdown_cell("## A head\n[how](../CONTRIBUTING.md), [02](02_x.ipynb)")
    picture = nbformat.v4.new_output("display_data", {"image/png": "iVBORw0KGgo="})
    code = nbformat.v4.new_code_cell("x = 1", outputs=[picture], metadata={"tags": ["solution"]})
    plain = nbformat.v4.new_code_cell("x = 2")
    text, solution, other = for_web(notebook(markdown, code, plain), "https://host/blob").cells
    assert "[how](https://host/blob/CONTRIBUTING.md), [02](02_x.ipynb)" in text.source
    without = for_web(
        notebook(nbformat.v4.new_markdown_cell("[how](../CONTRIBUTING.md), [02](02_x.ipynb)")), ""
    )
    assert without.cells[0].source == "how, [02](02_x.ipynb)"
    assert "hide-input" in solution.metadata["tags"] and "tags" not in other.metadata
    assert solution.metadata["mystnb"]["image"]["alt"] == "Figure: A head"


def test_the_library_page_names_every_public_name_and_folder():
    text = (REPOSITORY / "docs" / "library.md").read_text(encoding="utf-8")
    folders = {path.parent.name for path in (REPOSITORY / "survey_lib").glob("*/__init__.py")} - {"cli"}
    for name in {*survey_lib.__all__, *folders} - {"METHODS", "PruneResult"}:
        assert f"   survey_lib.{name}\n" in text


def test_every_page_of_docs_is_in_the_contents():
    contents = (REPOSITORY / "docs" / "index.md").read_text(encoding="utf-8").splitlines()
    written = {path.stem for path in (REPOSITORY / "docs").glob("*.md")} - {
        "index",
        "methods",
        "reading_the_code",
    }  # see generate.py
    assert written <= set(contents), f"add to a toctree of docs/index.md: {written - set(contents)}"


@pytest.mark.parametrize("files", ["", "https://example.org/files"])
def test_a_picture_of_a_lesson_is_a_picture_on_the_site(files):
    cell = nbformat.v4.new_markdown_cell(
        "![A mask\nin two lines](../docs/figures/story.png), [code](../survey_lib/prune.py)"
    )
    text = for_web(nbformat.v4.new_notebook(cells=[cell]), files).cells[0].source
    assert text.startswith("[![A mask\nin two lines](../figures/story.png)](../figures/story.md), ")
    assert text.endswith(f"[code]({files}/survey_lib/prune.py)" if files else ", code")


def test_a_slider_holds_a_frame_for_each_value_and_shows_the_first():
    before = plt.get_fignums()
    text = lesson.slider(lambda height: plt.figure(figsize=(1, height)), height=(1, 2, 2.5)).data
    (steps, frames), shown = (
        re.findall(r'data-\w+="(.*?)"', text),
        re.findall(r'src="data:image/png;base64,(.*?)"', text),
    )
    sizes = [Image.open(io.BytesIO(base64.b64decode(frame))).size for frame in frames.split()]
    assert steps == "1 2 2.5" and sizes == [(100, 100), (100, 200), (100, 250)]
    assert shown == frames.split()[:1] and 'max="2"' in text and plt.get_fignums() == before
