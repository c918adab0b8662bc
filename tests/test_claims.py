"""Findings are computed from published runs, corrected in families, and the stored ones are what comes out."""

import copy
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml

from survey_lib.analysis import claims, numbers, tables
from survey_lib.analysis.claims import Claim
from survey_lib.experiment.data import loaders

CLAIM = Claim("trial", "sparsity == 0.5", "method == 'a'", "method == 'b'", ("a", "b", "here"))


def runs(first, second):
    rows = [
        {
            "method": name,
            "seed": seed,
            "accuracy": value,
            "loss": 1 - value,
            "compression": 2.0,
            "key": f"{name}{seed}",
            "version": 1,
        }
        for name, values in (("a", first), ("b", second))
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows).assign(sparsity=0.5, status="done", data="toy", model="net")


@pytest.fixture
def published(monkeypatch):
    def use(*sides):
        monkeypatch.setattr(claims.store, "results", lambda *_, **__: runs(*sides))
        monkeypatch.setattr(claims, "load", lambda study: SimpleNamespace(family="Each against each."))

    return use


def test_a_difference_by_hand(published):
    published([0.8, 0.7, 0.9], [0.7, 0.6, 0.8])
    found = claims.findings({"one": CLAIM})["one"]
    assert (found["mean"], found["low"], found["high"], found["n"], found["verdict"]) == (
        10,
        10,
        10,
        3,
        "better",
    )
    assert (found["data"], found["network"], found["over"], found["family_size"]) == (
        "toy",
        "net",
        "seeds",
        1,
    )
    assert found["keys"] == ["a0", "a1", "a2", "b0", "b1", "b2"]
    assert found["statement"] == (
        "a is 10.0 points above b here (95 % interval 10.0 to 10.0, n = 3 seeds, over seeds only, "
        "Holm-corrected p < 0.001)"
    )


def test_what_correction_does_not_leave_is_a_tie(published):
    """Gaps 10, 14, 20: p = 0.038, an interval without zero; as one of two comparisons 0.076, a tie."""
    published([0.80, 0.74, 0.9], [0.7, 0.6, 0.7])
    alone = claims.findings({"one": CLAIM})["one"]
    family = claims.findings({"one": CLAIM, "two": CLAIM})["one"]
    half = 4.302653 * np.std([10, 14, 20], ddof=1) / np.sqrt(3)
    assert alone["high"] - alone["mean"] == pytest.approx(half, abs=1e-3)
    assert (alone["verdict"], family["verdict"]) == ("better", "tie")
    assert family["corrected"] == pytest.approx(2 * alone["corrected"], rel=0.01) and family["low"] > 0
    assert family["statement"].startswith("a and b tie here: the first is 14.7 points above the second (95 %")


def test_a_lower_loss_is_better_and_the_interval_reads_in_the_direction_of_the_words(published):
    published([0.80, 0.74, 0.9], [0.7, 0.6, 0.7])
    loss = Claim(**vars(CLAIM) | {"metric": "loss", "unit": "nats"})
    found = claims.findings({"one": loss})["one"]
    assert found["verdict"] == "better" and found["mean"] == pytest.approx(-0.1467, abs=1e-4)
    assert "a is 0.147 nats below b here (95 % interval 0.022 to 0.272" in found["statement"]


def test_a_claim_never_averages_different_runs_of_one_seed():
    table = pd.concat([runs([0.8, 0.7, 0.9], [0.7, 0.6, 0.8]), runs([0.6], []).assign(key="longer")])
    with pytest.raises(ValueError, match="\"method == 'a'\" leaves different runs of one seed"):
        claims.measured("one", CLAIM, table)


def test_two_seeds_carry_no_claim(published):
    published([0.8, 0.7], [0.7, 0.6])
    with pytest.raises(ValueError, match="claim one: 2 seeds have both sides, 3 are needed"):
        claims.findings({"one": CLAIM})


def test_a_study_with_claims_says_what_its_family_is(monkeypatch):
    monkeypatch.setattr(claims, "load", lambda study: SimpleNamespace(family=""))
    with pytest.raises(ValueError, match="study trial has claims, so its file must say in `family`"):
        claims.findings({"one": CLAIM})


def test_a_wrong_entry_is_named_with_its_field(tmp_path, monkeypatch):
    entry = {"study": "x", "where": "a", "first": "b", "second": "c", "says": ["a", "b", "c"], "unti": "nats"}
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump({"mine": entry}))
    monkeypatch.setattr(claims, "SOURCE", tmp_path / "claims.yaml")
    with pytest.raises(ValueError, match="mine.unti"):
        claims.claims()


def test_stored_findings_come_out_of_the_published_runs():
    assert claims.findings() == json.loads(claims.FILE.read_text(encoding="utf-8"))


def test_runs_of_an_earlier_version_of_a_method_are_named(published, monkeypatch):
    published([0.8, 0.7, 0.9], [0.7, 0.6, 0.8])
    monkeypatch.setattr(claims, "METHODS", {"a": SimpleNamespace(version=2), "b": SimpleNamespace(version=1)})
    found = claims.findings({"one": CLAIM})["one"]
    assert found["earlier"] == ["a"] and "; runs of an earlier version of a)" in found["statement"]


@pytest.fixture(scope="module")
def behind():
    """Each stored finding with the records of its runs."""
    stored = json.loads(claims.FILE.read_text(encoding="utf-8"))
    files = map(claims.store.published_file, sorted({found["study"] for found in stored.values()}))
    lines = (line for file in files for line in file.read_text(encoding="utf-8").splitlines())
    runs = {run["key"]: run for run in map(json.loads, lines)}
    return [(found, [runs[key] for key in found["keys"]]) for found in stored.values()]


def test_each_finding_says_what_its_interval_covers(behind):
    """Protocol, rules 1 and 2: the number of test images, or that other images would add to the interval."""
    for found, runs in behind:
        stored = {run["metrics"]["recovered"]["test"].get("n") for run in runs}
        assert f"{found['n']} seeds" in found["statement"] and len(found["seeds"]) == found["n"]
        if found["unit"] == "nats":
            assert {len(run["losses"]) for run in runs} == {found["examples"]} and min(stored) > 50_000
            assert f"× {found['examples']:,} texts" in found["statement"]
        elif found["examples"]:
            assert stored == {found["examples"]} and f"× {found['examples']:,} images" in found["statement"]
        else:
            assert "over seeds only" in found["statement"]


def test_a_finding_before_any_training_says_whose_batch_norm_statistics_it_used(behind):
    """Protocol, rule 7: with stale statistics the damage is not that of the removed weights alone."""
    for found, runs in behind:
        normed = any(run["config"]["model"].startswith(("resnet", "vgg", "mobilenet")) for run in runs)
        untrained = all(run["ledger"][-1]["stage"] in ("dense", "pruning") for run in runs)
        if normed and (found["metric"].startswith("pruned") or (untrained and found["metric"] == "accuracy")):
            assert "batch-norm statistics of the dense network" in found["statement"]


def test_a_finding_against_random_weights_says_how_they_were_spread(behind):
    """Protocol, rule 8: the share of each layer is half of what a random mask is worth."""
    for found, runs in behind:
        if any(run["config"]["method"] == "random" for run in runs):
            assert any(said in found["statement"] for said in ("each layer", "every layer", "densities"))


def test_no_finding_rests_on_a_mask_that_emptied_a_layer(behind):
    """Protocol, rule 9. (A block that is left out is no layer emptied by accident.)"""
    for _, runs in behind:
        masks = [run for run in runs if run["method"]["structure"] != "structured"]
        assert all(layer["kept"] for run in masks for layer in run["layers"])


def test_prose_reads_findings_by_name():
    found = numbers.finding("magnitude-against-random")
    assert (found.verdict, found.family_size, found.over) == ("better", 9, "seeds")
    assert numbers.points(found.mean) == "10.4 points" and "10.4 points above" in found.statement
    with pytest.raises(
        ValueError, match="unknown finding 'magnitude-random'; near: magnitude-against-random"
    ):
        numbers.finding("magnitude-random")


def test_a_level_is_of_one_configuration():
    """By hand from the table that `survey results` prints."""
    where = "method == 'dense' and recovery == 'none'"
    table = tables.finished("comparison", local=False).query(where)
    found = numbers.level("comparison", where)
    assert (found.mean, found.std, found.n) == (table["accuracy"].mean(), table["accuracy"].std(), 3)
    assert numbers.percent(found.mean, 1) == f"{100 * table['accuracy'].mean():.1f} %"
    with pytest.raises(ValueError, match="leaves 6 runs of 3 seeds of study comparison"):
        numbers.level("comparison", "method == 'dense'")
    with pytest.raises(ValueError, match="has no 'guessed_accuracy'"):
        numbers.level("comparison", where, metric="guessed_accuracy")


def test_a_published_number_is_one_row():
    with pytest.raises(ValueError, match="must be one published row, found"):
        numbers.published("lin2020hrank", model="ResNet-56")
    with pytest.raises(ValueError, match="found 0"):
        numbers.published("nobody")


def test_the_card_says_what_the_records_say():
    """The dense runs: 50,000 examples in 20 epochs are 2,500 images."""
    table = tables.finished("comparison", local=False).query("method == 'dense' and recovery == 'none'")
    card = tables.study_card(table)
    assert "eurosat32-mini; 2,500 training and 1,000 test examples" in card
    assert "20 epochs, sgd, one-cycle, rate 0.05, batch 16" in card and "3 (0, 1, 2)" in card


def test_the_card_names_the_epochs_and_the_rate_of_a_recovery_that_has_them():
    runs = tables.finished("replication", local=False)
    assert "| recovery | none, rewind |" in tables.study_card(runs.query("recovery != 'finetune'"))
    assert "| recovery | finetune, none, rewind; 10 epochs, rate 0.001 |" in tables.study_card(runs)


def test_the_card_of_the_language_model_counts_tokens_and_its_error_is_in_nats():
    card = tables.study_card(tables.finished("language", local=False).query("method == 'dense'"))
    assert "stories260K; 51,200 test tokens of 200 texts |" in card
    assert "| sampling error of a loss | 0.0" in card


def test_the_card_names_the_gpu_of_the_runs_that_had_one():
    table = tables.finished("comparison-eurosat32", local=False)
    chosen = table.query("sparsity == 0.55 or (method == 'dense' and recovery == 'none')")
    assert "(52 of 55 runs), else a CPU core |" in tables.study_card(chosen)
    assert "(15 of 15 runs)" in tables.study_card(table.query("method == 'hrank'"))


@pytest.mark.parametrize("name", ["digits", "eurosat32-mini"])
def test_test_images_that_old_records_do_not_count_are_those_of_the_data(name):
    assert tables.TESTS[name] == len(loaders.load(name).test[1])


def test_the_card_reads_runs_of_this_machine_too(monkeypatch):
    """A quick profile computes its own runs, which nobody has published."""
    record = next(iter(tables.store.published_records("comparison").values()))
    monkeypatch.setattr(tables.store, "local_records", lambda study: {"mine": record})
    card = tables.study_card(pd.DataFrame({"study": ["comparison"], "key": ["mine"], "accuracy": [0.9]}))
    assert "1 of study comparison: mine" in card


def test_the_card_of_no_run_says_so():
    assert (
        tables.study_card(pd.DataFrame({"study": [], "key": []}))
        == "*This profile has no run for this figure.*"
    )


def test_the_sampling_error_is_binomial(monkeypatch):
    """√(0.9 · 0.1 / 3600) is half a point."""
    record = copy.deepcopy(next(iter(tables.store.published_records("comparison").values())))
    record["metrics"]["recovered"]["test"]["n"] = 3600
    monkeypatch.setattr(tables.store, "published_records", lambda study: {"k": record})
    card = tables.study_card(pd.DataFrame({"study": ["comparison"], "key": ["k"], "accuracy": [0.9]}))
    assert "| sampling error of an accuracy | 0.5 points |" in card and "3,600 test examples" in card


def change(runs, first, second):
    """Points of validation accuracy that the first runs have over the second, on average over the seeds."""
    sides = [100 * runs.query(side).set_index("seed")["validation_accuracy"] for side in (first, second)]
    assert set(sides[0].index) == set(sides[1].index) and len(sides[0]) >= 3
    return (sides[0] - sides[1]).mean()


@pytest.mark.parametrize("study", ["recovery", "lottery", "comparison-eurosat32"])
def test_a_dense_network_that_is_trained_a_second_time_gains_less_than_half_a_point(study):
    """Rule 6: the dense networks of the claims have converged, judged on validation images."""
    runs = claims.store.results(study, local=False)
    runs = runs.query("method == 'dense' and data != 'digits' and model != 'resnet-8-narrow'")
    assert abs(change(runs, "recovery == 'lr-rewind'", "recovery == 'none'")) < 0.5


@pytest.mark.parametrize("mask", ["scope == 'erk'", "scope == 'layerwise'", "method == 'snip'"])
def test_doubling_the_training_of_a_sparse_network_gains_less_than_a_point(mask):
    """Rule 6, at the sparsity of the claims about networks that are sparse from the start."""
    runs = claims.store.results("before-training-fashion", local=False)
    runs = runs.query(
        f"{mask} and sparsity == 0.95 and method in ['snip', 'random'] and ticket == 'original'"
    )
    assert 0 < change(runs, "epochs == 20", "epochs == 10") < 1
