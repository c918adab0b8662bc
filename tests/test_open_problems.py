"""The evidence behind sentences about pruning: signs, ties, and pairs of published rows."""

import math

import pytest
import yaml

from survey_lib.analysis.claims import claims
from survey_lib.analysis.numbers import finding
from survey_lib.figures import published


@pytest.fixture
def sentences(tmp_path, monkeypatch):
    """A function that puts sentences in the place of the file, and returns the evidence for them."""

    def read(*problems):
        path = tmp_path / "problems.yaml"
        path.write_text(yaml.safe_dump(list(problems)), encoding="utf-8")
        monkeypatch.setattr(published, "SOURCE", path)
        return published.evidence()

    return read


def pair(first, second):
    where = "reported_by == 'sun2024simple' and model == 'LLaMA-2-7B' and dataset == 'WikiText2' and sparsity_pct == 50"
    return {"where": where, "first": f"method == '{first}'", "second": f"method == '{second}'"}


def test_a_sentence_may_favour_either_side_of_a_claim(sentences):
    ours = {"magnitude-against-random": "first", "tickets-against-shuffled": "second"}
    table = sentences({"says": "both", "ours": ours})
    assert list(table["verdict"]) == ["for", "against"]  # both are better than their second side
    means = [finding("magnitude-against-random").mean, -finding("tickets-against-shuffled").mean]
    assert table["mean"].tolist() == pytest.approx(means)
    assert (table["low"] < table["mean"]).all() and (table["mean"] < table["high"]).all()


def test_a_smaller_loss_speaks_for_its_side(sentences):
    table = sentences({"says": "Wanda", "ours": {"wanda-against-magnitude-language": "first"}})
    assert table["verdict"].item() == "for"
    assert table["mean"].item() == pytest.approx(-100 * finding("wanda-against-magnitude-language").mean)


def test_two_perplexities_are_compared_as_losses(sentences):
    rows = pair("Wanda 50 % unstructured", "magnitude (one-shot) 50 % unstructured")
    table = sentences({"says": "Wanda", "ours": {}, "reported": [rows]})
    assert table["mean"].item() == pytest.approx(100 * math.log(14.89 / 6.42), abs=1e-3)
    assert table["verdict"].item() == ""


def test_a_side_that_is_not_one_row_is_named(sentences):
    with pytest.raises(ValueError, match="each side must be one published row, found 0 and 1"):
        rows = pair("nobody", "magnitude (one-shot) 50 % unstructured")
        sentences({"says": "nothing", "ours": {}, "reported": [rows]})


def test_the_figure_counts_each_verdict_of_its_table():
    drawing = published.open_problems()
    ours = drawing.data[drawing.data["source"] == published.OURS]
    assert set(ours["claim"]) <= claims().keys()
    assert not ours["claim"].duplicated().any()  # or a difference would count twice
    assert f"{(ours['verdict'] == 'tie').sum()} are ties" in drawing.says
    assert len(drawing.figure.axes[0].get_yticklabels()) == drawing.data["says"].nunique()
