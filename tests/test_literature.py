"""The literature data: what is left out, what is recomputed, and BibTeX that is generated and current."""

import re

import pytest

from survey_lib.analysis.literature import (
    FOLDER,
    audit,
    baselines,
    bibliography,
    bibtex,
    described,
    overlay,
    papers,
    published,
)
from survey_lib.catalogue import METHODS


def test_recalled_numbers_and_identifiers_are_left_out():
    assert len(published()) == 1049
    table = papers()
    assert table["doi"].isna()["hassibi1993optimal"]
    assert table.loc["song2022survey", "doi"] == "10.17706/IJCCE.2022.11.2.10-23"


def test_keys_are_unique_and_every_number_belongs_to_a_paper():
    assert papers().index.is_unique
    assert set(published()["paper_key"]) <= set(papers().index)


def test_delta_is_recomputed_by_hand_for_one_row():
    row = (
        published()
        .query("method == 'HRank' and model == 'ResNet-56' and reported_by == 'lin2020hrank'")
        .iloc[0]
    )
    assert (row["baseline_metric"], row["pruned_metric"], row["delta"]) == (93.26, 93.17, -0.09)
    assert row["own"]


def test_audit_lists_the_four_printed_changes_that_contradict_their_columns():
    found = audit().set_index(["method", "model"])
    assert len(found) == 4
    assert found.loc[("GReg-1", "VGG-19"), ["printed_delta", "delta"]].tolist() == [-6.67, -6.47]
    assert found.loc[("SFP", "ResNet-56"), ["printed_delta", "delta"]].tolist() == [0.23, -0.23]


def test_baselines_differ_more_than_most_methods():
    found = baselines().set_index(["dataset", "model"])
    assert found.loc[("CIFAR-10", "ResNet-56"), ["lowest", "highest"]].tolist() == [92.8, 93.8]
    assert (found["spread"] == (found["highest"] - found["lowest"]).round(3)).all()
    assert (found["count"] >= 3).all()


def test_overlay_is_in_fractions_and_ratios():
    hrank = overlay("CIFAR-10", "ResNet-56").query("method == 'HRank'").iloc[0]
    assert hrank["compression"] == pytest.approx(1 / (1 - 0.424))
    assert hrank["speedup_theoretical"] == pytest.approx(2.0)
    assert hrank["accuracy"] == pytest.approx(0.9317)


def test_overlay_holds_what_authors_claim_and_nothing_that_others_measured():
    claims, rows = overlay("CIFAR-10", "ResNet-56"), published().query("model == 'ResNet-56'")
    assert (claims["paper"] == claims["reported_by"]).all() and "lin2020hrank" in set(claims["paper"])
    assert len(claims) == (rows["own"] & (rows["dataset"] == "CIFAR-10")).sum()


def test_overlay_names_near_matches():
    with pytest.raises(ValueError, match="CIFAR-10 ResNet-56"):
        overlay("CIFAR-10", "ResNet-57")


def test_bibtex_of_a_paper():
    entry = bibtex("li2017pruning")
    assert entry.startswith("@inproceedings{li2017pruning,")
    assert (
        "author = {Hao Li and Asim Kadav and Igor Durdanovic and Hanan Samet and Hans Peter Graf}," in entry
    )
    assert "doi" not in bibtex("hassibi1993optimal")
    assert bibtex("song2022survey").startswith("@article{")


def test_bibtex_names_near_keys():
    with pytest.raises(ValueError, match="near: li2017pruning"):
        bibtex("li2017prunning")


def test_references_file_is_generated_and_current():
    assert (FOLDER / "references.bib").read_text(encoding="utf-8") == bibliography()


def test_every_method_of_the_literature_runs_or_is_described_with_a_reason():
    table, running = papers().query("kind == 'method'"), {row.paper for row in METHODS.values()}
    assert set(table.index) - running == set(described().index)
    assert described()["reason"].str.endswith(".").all() and described()["one_line"].str.endswith(".").all()
    named = re.findall(r"`([a-z0-9-]+)`", " ".join(described()["reason"]))
    assert set(named) <= {*METHODS, "rewind", "lr-rewind"}


def test_bibtex_braces_balance():
    for entry in bibliography().split("\n\n"):
        assert entry.count("{") == entry.count("}"), entry
    assert len(re.findall(r"^@", bibliography(), re.M)) == len(papers())
