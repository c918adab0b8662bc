"""One run: the order of things, equal bits, checkpoints, recovery, cost and what the record says."""

import copy
import dataclasses
import json
import os
import shutil
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

import survey_lib
from survey_lib.experiment import records
from survey_lib.experiment.data import loaders as data
from survey_lib.experiment.runs import checkpoint
from survey_lib.experiment.runs.config import RunConfig
from survey_lib.experiment.runs.record import correct
from survey_lib.experiment.runs.run import Refused, run

BASE = {"data": "digits", "model": "lenet-300-100", "epochs": 2, "recovery_epochs": 1, "batch_size": 64}
MAGNITUDE = {"method": "magnitude", "sparsity": 0.9}
CONV = BASE | {"model": "resnet-8", "epochs": 1, "rewind_epoch": 0}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def record_of(cache):
    """The record of a config, which is run once for all tests of this module."""
    records = {}

    def record(**choices):
        config = RunConfig(**choices)
        if config.key() not in records:
            records[config.key()] = run(config, cache)
        return copy.deepcopy(records[config.key()])

    return record


def test_a_run_from_dense_to_recovered(record_of):
    record = record_of(**BASE, method="magnitude", sparsity=0.9)
    accuracy = {stage: splits["test"]["accuracy"] for stage, splits in record["metrics"].items()}
    assert accuracy["dense"] > 0.8 and accuracy["recovered"] > accuracy["pruned"]
    assert record["sparsity"] == pytest.approx(0.9, abs=1e-4) and record["status"] == "done"
    weights = sum(layer["total"] for layer in record["layers"])
    assert weights == 64 * 300 + 300 * 100 + 100 * 10
    biases = record["sizes"]["dense"]["parameters"] - weights
    assert record["sizes"]["compression"] == pytest.approx(
        (weights + biases) / (weights * 0.1 + biases), rel=1e-3
    )
    assert json.loads(records.dump(record))["key"] == record["key"]


def test_b55_equal_configs_give_equal_metrics_whatever_ran_before_and_however_many_threads(cache, tmp_path):
    config = RunConfig(**CONV, method="l1-filter", sparsity=0.5)
    first = run(config, cache)
    torch.manual_seed(99)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    second = run(config, tmp_path)  # another cache: dense training is done again
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)
    assert first["metrics"] == second["metrics"] and first["curve"] == second["curve"]
    other = run(config.model_copy(update={"seed": 1}), cache)
    assert other["metrics"] != first["metrics"]


def test_dense_network_is_trained_once_a_seed_and_shared_by_methods(cache, record_of):
    before = record_of(**BASE, recovery="none")
    files = {path: path.stat().st_mtime_ns for path in cache.glob("*.safetensors")}
    after = run(RunConfig(**BASE, method="random", sparsity=0.5), cache)
    assert {path: path.stat().st_mtime_ns for path in cache.glob("*.safetensors")} == files
    assert after["metrics"]["dense"] == before["metrics"]["dense"] == before["metrics"]["recovered"]


@pytest.mark.parametrize("recovery, lrs", [("finetune", [0.02]), ("lr-rewind", [0.1])])
def test_training_longer_is_the_dense_control_of_each_recovery(recovery, lrs, record_of):
    """The twin of a pruned run: the same extra epochs under the same schedule."""
    twin, pruned = (record_of(**BASE, recovery=recovery, **more) for more in ({}, MAGNITUDE))
    extra = [
        [(point["epoch"], point["lr"]) for point in record["curve"] if point["stage"] == "recovery"]
        for record in (twin, pruned)
    ]
    assert extra[0] == extra[1] and twin["sparsity"] == 0
    assert [stage["epochs"] for stage in twin["ledger"]] == [2, 1]


def other_seed(path):
    """The checkpoint of another seed under this one's name."""
    config = RunConfig(**BASE, recovery="none", seed=1)
    run(config, path.parent)
    path.write_bytes((path.parent / f"dense-{config.dense_key()}.safetensors").read_bytes())


def rewrite(path, change_tensors=lambda tensors: None, change_notes=lambda notes: None):
    """Write a checkpoint again as a valid safetensors file with something changed."""
    with checkpoint.safe_open(path, "pt") as file:
        notes = file.metadata()
    tensors = load_file(path)
    change_tensors(tensors)
    change_notes(notes)
    save_file(tensors, path, notes)


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(content)


DAMAGE = {
    "seeds swapped": (other_seed, "it holds the dense network"),
    "a weight": (lambda p: rewrite(p, lambda t: t["trained/5.weight"][0, :1].mul_(1.001)), "stored sha256"),
    "a rewind weight": (lambda p: rewrite(p, lambda t: t["rewind/5.weight"][0, :1].add_(1)), "stored sha256"),
    "a tensor gone": (lambda p: rewrite(p, lambda t: t.pop("rewind/5.bias")), "stored sha256"),
    "the curve": (
        lambda p: rewrite(p, change_notes=lambda n: n.update(about=n["about"].replace("0.", "0.9"))),
        "stored sha256",
    ),
    "no notes": (lambda p: rewrite(p, change_notes=lambda n: n.clear()), "it holds the dense network None"),
    "a flipped bit": (lambda p: flip(p, -1000), "stored sha256"),
    "a flipped bit of the header": (lambda p: flip(p, 3), "no safetensors file"),
    "cut off": (lambda p: p.write_bytes(p.read_bytes()[:5000]), "no safetensors file"),
    "a pipe": (lambda p: (p.unlink(), os.mkfifo(p)), "it is no file"),
    "a link in a circle": (lambda p: (p.unlink(), p.symlink_to(p.name)), "it is no file"),
    "foreign": (lambda p: p.write_bytes(b"\x80\x04not tensors"), "no safetensors file"),
}


@pytest.mark.parametrize(("damage", "said"), DAMAGE.values(), ids=DAMAGE)
def test_b53_a_damaged_checkpoint_is_named_and_trained_again(damage, said, record_of, cache, tmp_path):
    config, whole = RunConfig(**BASE, recovery="none"), record_of(**BASE, recovery="none")
    path = tmp_path / f"dense-{config.dense_key()}.safetensors"
    shutil.copy(cache / path.name, path)
    damage(path)
    healed = run(config, tmp_path)  # which reads the file that it wrote
    assert healed["metrics"] == whole["metrics"]
    damage(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        checkpoint.dense(config, checkpoint.data_of(config), tmp_path)
    for notes in (healed["warnings"], [str(warning.message) for warning in caught]):
        assert [note for note in notes if said in note and path.name in note], notes
    again = run(config, tmp_path)
    assert again["metrics"] == whole["metrics"] and again["warnings"] == []


def test_b53_a_folder_in_place_of_a_checkpoint_is_set_aside_whole(tmp_path):
    config = RunConfig(**BASE, recovery="none")
    path = tmp_path / f"dense-{config.dense_key()}.safetensors"
    path.mkdir()
    (path / "notes.txt").write_text("mine")
    with pytest.warns(UserWarning, match=f"{path.name} is trained again: it is no file"):
        checkpoint.dense(config, checkpoint.data_of(config), tmp_path)
    assert run(config, tmp_path)["warnings"] == []
    (kept,) = tmp_path.glob("set-aside/*/notes.txt")
    assert kept.read_text() == "mine"


def test_b53_a_checkpoint_of_other_preprocessing_is_trained_again(record_of, cache, tmp_path, monkeypatch):
    config = RunConfig(**BASE, recovery="none")
    record_of(**BASE, recovery="none")
    shutil.copy(cache / f"dense-{config.dense_key()}.safetensors", tmp_path)
    monkeypatch.setitem(
        data.SOURCES, "digits", dataclasses.replace(data.SOURCES["digits"], mean=(0.5,), std=(0.5,))
    )
    monkeypatch.setattr(checkpoint, "shared", data.load)
    assert "stored validation accuracy" in run(config, tmp_path)["warnings"][0]
    assert run(config, tmp_path)["warnings"] == []


def test_b15_rewinding_brings_back_the_early_weights_bit_for_bit(cache, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "survey_lib.experiment.runs.record.fit",
        lambda model, *_, **choices: seen.append((model, choices)) or [],
    )
    config = RunConfig(**BASE, method="magnitude", sparsity=0.5, recovery="rewind")
    run(config, cache)
    ((model, choices),) = seen
    stored = load_file(cache / f"dense-{config.dense_key()}.safetensors")
    assert choices["first_epoch"] == config.rewind_epoch and choices["epochs"] == config.epochs
    for name, mask in choices["masks"].items():
        weight = model.get_parameter(name)
        assert torch.equal(weight[mask], stored[f"rewind/{name}"][mask]) and not weight[~mask].any()
        assert not torch.equal(stored[f"rewind/{name}"], stored[f"trained/{name}"])


@pytest.mark.parametrize(
    "recovery, epochs, lr",
    [
        ("none", [2], None),
        ("finetune", [2, 1], 0.02),
        ("rewind", [2, 1], 0.1),
        ("lr-rewind", [2, 1], 0.1),
        ("scratch-e", [2, 2], 0.1),
        ("scratch-b", [2, 4], 0.1),
    ],
)
def test_each_recovery_costs_what_it_says(recovery, epochs, lr, record_of):
    record = record_of(**BASE, **MAGNITUDE, recovery=recovery)
    assert [stage["epochs"] for stage in record["ledger"] if stage["epochs"]] == epochs
    macs = record["sizes"]["dense"]["macs"] * 3
    assert all(stage["training_macs"] == stage["examples"] * macs for stage in record["ledger"])
    assert record["sparsity"] == pytest.approx(0.9, abs=1e-4)


def test_rounds_end_at_the_asked_sparsity_with_a_recovery_after_each(record_of):
    record = record_of(**BASE, method="magnitude", sparsity=0.8, schedule="iterative", rounds=3)
    assert record["sparsity"] == pytest.approx(0.8, abs=1e-4)
    assert [stage["stage"] for stage in record["ledger"]] == ["dense"] + ["pruning", "recovery"] * 3


def test_structured_rounds_cut_a_share_of_what_is_left(record_of):
    choices = {
        "method": "l1-filter",
        "sparsity": 0.75,
        "schedule": "iterative",
        "rounds": 2,
        "recovery": "rewind",
    }
    record = record_of(**CONV, **choices)
    assert {layer["layer"]: (layer["total"], layer["kept"]) for layer in record["layers"]}["conv1"] == (16, 4)
    assert record["sparsity"] == pytest.approx(0.75)
    costs = [stage["training_macs"] for stage in record["ledger"] if stage["stage"] == "recovery"]
    assert costs[1] < costs[0] < record["ledger"][0]["training_macs"]


def test_methods_before_training_start_from_new_weights(record_of):
    record = record_of(**BASE, method="snip", sparsity=0.5)
    assert [stage["stage"] for stage in record["ledger"]] == ["pruning", "training", "recovery"]
    assert (
        record["metrics"]["pruned"]["test"]["accuracy"]
        < 0.4
        < record["metrics"]["recovered"]["test"]["accuracy"]
    )


@pytest.mark.parametrize("method", ["slimming", "sfp", "rigl"])
def test_methods_during_training_reach_the_asked_sparsity(method, record_of):
    record = record_of(**CONV, method=method, sparsity=0.5)
    assert record["ledger"][0]["stage"] == "sparsity training"
    assert record["sparsity"] == pytest.approx(0.5, abs=0.02)
    assert record["sizes"]["compression"] > 1.5


def test_greg_starts_from_the_trained_network(cache, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "survey_lib.experiment.runs.run.during",
        lambda model, *a, **k: seen.append(copy.deepcopy(model)) or survey_lib.during(model, *a, **k),
    )
    config = RunConfig(**CONV, method="greg", sparsity=0.5)
    record = run(config, cache)
    stored = load_file(cache / f"dense-{config.dense_key()}.safetensors")
    assert torch.equal(seen[0].conv1.weight, stored["trained/conv1.weight"])
    assert [stage["stage"] for stage in record["ledger"]] == [
        "dense",
        "sparsity training",
        "pruning",
        "recovery",
    ]


def test_the_test_set_is_read_once_after_all_training(cache, monkeypatch):
    events = []
    monkeypatch.setattr(
        "survey_lib.experiment.runs.record.predict",
        lambda _, x: events.append("evaluation") or torch.zeros(len(x), 10),
    )
    monkeypatch.setattr(
        "survey_lib.experiment.runs.record.fit", lambda *_, **__: events.append("training") or []
    )
    run(RunConfig(**BASE, method="magnitude", sparsity=0.5), cache)
    assert events == ["training"] + ["evaluation"] * 8  # dense and recovered on three splits, as cut on two


def test_the_record_says_where_it_was_made_and_what_was_warned(cache, record_of):
    record = record_of(**BASE, method="magnitude", sparsity=0.5)
    assert (
        record["environment"]["threads"] == 1
        and record["environment"]["torch"] == torch.__version__.partition("+")[0]
    )
    assert record["warnings"] == [] and os.listdir(cache)


TICKET = BASE | {"method": "snip", "sparsity": 0.8, "recovery": "none"}


@pytest.mark.parametrize("ticket", ["shuffled", "reinitialised"])
def test_a_changed_ticket_keeps_the_count_of_every_layer(record_of, ticket):
    original, changed = (record_of(**TICKET, ticket=kind) for kind in ("original", ticket))
    assert [layer["kept"] for layer in changed["layers"]] == [layer["kept"] for layer in original["layers"]]
    assert changed["metrics"] != original["metrics"]


def test_a_ticket_needs_masks_on_untrained_weights():
    with pytest.raises(ValueError, match="ticket shuffled needs"):
        RunConfig(**BASE, method="magnitude", sparsity=0.5, ticket="shuffled")


def test_one_layer_alone_is_pruned(record_of):
    record = record_of(**BASE, method="magnitude", sparsity=0.5, layer="3", recovery="none")
    assert [layer["layer"] for layer in record["layers"]] == ["3"]
    assert (
        record["sizes"]["pruned"]["nonzero_parameters"]
        == record["sizes"]["dense"]["parameters"] - 300 * 100 // 2
    )


def test_the_corrupted_copy_is_harder_than_the_test_set(record_of):
    metrics = record_of(**BASE, recovery="none")["metrics"]["dense"]
    assert metrics["corrupted"]["accuracy"] < metrics["test"]["accuracy"]


def test_right_answers_are_stored_for_each_stage(record_of):
    record = record_of(**CONV, method="l1-filter", sparsity=0.5)
    assert list(record["metrics"]) == ["dense", "pruned", "recalibrated", "recovered"]
    for stage, splits in record["metrics"].items():
        assert correct(record, stage).shape == (300,)
        assert correct(record, stage).mean() == pytest.approx(splits["test"]["accuracy"])
    accuracy = {stage: splits["test"]["accuracy"] for stage, splits in record["metrics"].items()}
    assert accuracy["recalibrated"] > accuracy["pruned"] + 0.1  # stale statistics, not lost filters


def test_without_batch_norm_recalibrated_is_pruned(record_of):
    record = record_of(**BASE, **MAGNITUDE)
    assert record["metrics"]["recalibrated"]["test"] == record["metrics"]["pruned"]["test"]


@pytest.mark.parametrize("method", ["l1-filter", "slimming"])
def test_a_budget_of_macs_is_used_up_and_not_exceeded(method, record_of):
    record = record_of(**CONV, method=method, macs=0.5, recovery="none")
    assert 0.42 < record["sizes"]["pruned"]["macs"] / record["sizes"]["dense"]["macs"] <= 0.5


def test_a_mask_that_empties_a_layer_is_refused(cache):
    with pytest.raises(Refused, match="leaves nothing of 5"):
        run(RunConfig(**BASE, method="random", sparsity=0.9996, recovery="none"), cache)


def test_a_random_mask_can_be_trained_from_scratch(record_of):
    record = record_of(**BASE, method="random", scope="erk", when="before", sparsity=0.9, recovery="none")
    assert [stage["stage"] for stage in record["ledger"]] == [
        "pruning",
        "training",
    ]  # no dense training is paid for
    assert record["sparsity"] == pytest.approx(0.9, abs=1e-4)


def test_sparse_training_costs_what_its_masks_and_gradients_cost(record_of):
    """Forty steps; RigL reads dense gradients in the fourteen that are even, from the second to the 28th."""
    share = {}
    for method in ("set", "rigl"):
        spent = record_of(**BASE, method=method, sparsity=0.9, recovery="none")["ledger"][0]
        share[method] = spent["nonzero_training_macs"] / spent["training_macs"]
    assert share["set"] == pytest.approx(0.1, abs=1e-3)
    assert share["rigl"] == pytest.approx(0.1 + 14 / 40 * 0.9 / 3, abs=1e-3)


def test_masked_training_is_counted_dense_and_without_its_zeros(record_of):
    spent = record_of(**BASE, method="magnitude", sparsity=0.9)["ledger"][-1]
    assert spent["nonzero_training_macs"] == pytest.approx(0.1 * spent["training_macs"], rel=1e-3)
    assert 0 < spent["cpu_seconds"] and 0 < spent["seconds"]


LAYERWISE = {
    "method": "imp",
    "scope": "layerwise",
    "schedule": "iterative",
    "recovery": "rewind",
    "rate": 0.2,
}


def test_lottery_rounds_take_half_the_rate_from_the_output_layer(record_of):
    record = record_of(**BASE, **LAYERWISE, rounds=2, output_rate=0.1)
    assert [round(layer["sparsity"], 4) for layer in record["layers"]] == [0.36, 0.36, 0.19]
    assert record["warnings"] == [] and 0.64 < record["initial_overlap"] < 1


def test_a_replication_chooses_inputs_first_weights_and_validation_and_follows_the_test_accuracy(cache):
    config = RunConfig(**BASE, recovery="none", inputs="unit", init="glorot", validation=100, track_test=True)
    record = run(config, cache)
    assert record["ledger"][0]["examples"] == 2 * (1247 + 250 - 100)
    followed = [point["test_accuracy"] for point in record["curve"]]
    assert followed[-1] == record["metrics"]["recovered"]["test"]["accuracy"] and len(followed) == 2
    assert 0 <= checkpoint.data_of(config).train[0].min() and checkpoint.data_of(config).train[0].max() == 1
    first = checkpoint.fresh(config, checkpoint.data_of(config), 0)[3]
    assert not first.bias.any() and float(first.weight.detach().std()) == pytest.approx(
        (2 / 400) ** 0.5, rel=0.02
    )


STORIES = {"data": "stories260K", "model": "stories260K", "recovery": "none"}


def test_the_language_model_is_a_study_like_any_other():
    record = run(RunConfig(**STORIES, method="wanda", sparsity=0.5))
    dense, pruned = (record["metrics"][stage]["test"] for stage in ("dense", "recovered"))
    assert dense["loss"] < pruned["loss"] and record["sparsity"] == pytest.approx(0.5, abs=0.01)
    assert dense["divergence"] == 0 < pruned["divergence"]
    # on its own text the dense model is beaten by nobody: what is added to the loss is the divergence
    assert pruned["loss"] - dense["loss"] == pytest.approx(pruned["divergence"], abs=0.05)
    assert len(record["losses"]) == 200 and pruned["n"] == 200 * 256
    assert sum(record["losses"]) / 200 == pytest.approx(pruned["loss"], abs=1e-3)
    assert record["metrics"]["recovered"]["written"]["n"] == 1103


@pytest.mark.parametrize(
    "wrong", [{"model": "lenet-300-100"}, {"recovery": "finetune"}, {"method": "snip", "sparsity": 0.5}]
)
def test_the_language_model_is_pretrained_data_and_model_at_once(wrong):
    with pytest.raises(ValueError, match="stories260K is"):
        RunConfig(**(STORIES | wrong))
