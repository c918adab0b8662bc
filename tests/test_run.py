"""One run: the order of things, equal bits, checkpoints, recovery, cost and what the record says."""

import dataclasses
import json
import os
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

from survey_lib.experiment.data import loaders as data
from survey_lib.experiment.runs import checkpoint, record_json
from survey_lib.experiment.runs.config import RunConfig
from survey_lib.experiment.runs.run import run

BASE = {"data": "digits", "model": "lenet-300-100", "epochs": 2, "recovery_epochs": 1, "batch_size": 64}
CONV = BASE | {"model": "resnet-8", "epochs": 1, "rewind_epoch": 0}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("checkpoints")


def test_a_run_from_dense_to_recovered(cache):
    record = run(RunConfig(**BASE, method="magnitude", sparsity=0.9), cache)
    accuracy = {stage: splits["test"]["accuracy"] for stage, splits in record["metrics"].items()}
    assert accuracy["dense"] > 0.8 and accuracy["recovered"] > accuracy["pruned"]
    assert record["sparsity"] == pytest.approx(0.9, abs=1e-4) and record["status"] == "done"
    weights = sum(layer["total"] for layer in record["layers"])
    assert weights == 64 * 300 + 300 * 100 + 100 * 10
    biases = record["sizes"]["dense"]["parameters"] - weights
    assert record["sizes"]["compression"] == pytest.approx(
        (weights + biases) / (weights * 0.1 + biases), rel=1e-3
    )
    assert json.loads(record_json.dump(record))["key"] == record["key"]


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


def test_dense_network_is_trained_once_a_seed_and_shared_by_methods(cache):
    before = run(RunConfig(**BASE, recovery="none"), cache)
    files = {path: path.stat().st_mtime_ns for path in cache.glob("*.safetensors")}
    after = run(RunConfig(**BASE, method="random", sparsity=0.5), cache)
    assert {path: path.stat().st_mtime_ns for path in cache.glob("*.safetensors")} == files
    assert after["metrics"]["dense"] == before["metrics"]["dense"] == before["metrics"]["recovered"]


def test_training_longer_is_the_dense_control(cache):
    record = run(RunConfig(**BASE, recovery="finetune"), cache)
    assert [stage["epochs"] for stage in record["ledger"]] == [2, 1] and record["sparsity"] == 0


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
    "the curve": (lambda p: rewrite(p, change_notes=lambda n: n.update(about=n["about"].replace("0.", "0.9"))), "stored sha256"),
    "no notes": (lambda p: rewrite(p, change_notes=lambda n: n.clear()), "it holds the dense network None"),
    "a flipped bit": (lambda p: flip(p, -1000), "stored sha256"),
    "a flipped bit of the header": (lambda p: flip(p, 3), "no safetensors file"),
    "cut off": (lambda p: p.write_bytes(p.read_bytes()[:5000]), "no safetensors file"),
    "foreign": (lambda p: p.write_bytes(b"\x80\x04not tensors"), "no safetensors file"),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "said"), DAMAGE.values(), ids=DAMAGE)
def test_b53_a_damaged_checkpoint_is_named_and_trained_again(damage, said, tmp_path):
    config = RunConfig(**BASE, recovery="none")
    whole = run(config, tmp_path)
    path = tmp_path / f"dense-{config.dense_key()}.safetensors"
    for train_again in (lambda: run(config, tmp_path), lambda: checkpoint.prepare(config, tmp_path)):
        damage(path)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            healed = train_again()
        notes = healed["warnings"] if healed else [str(warning.message) for warning in caught]
        assert [note for note in notes if said in note and path.name in note], notes
        again = run(config, tmp_path)
        assert again["metrics"] == whole["metrics"] and again["warnings"] == []


def test_b53_a_checkpoint_of_other_preprocessing_is_trained_again(tmp_path, monkeypatch):
    config = RunConfig(**BASE, recovery="none")
    run(config, tmp_path)
    monkeypatch.setitem(data.SOURCES, "digits", dataclasses.replace(data.SOURCES["digits"], mean=(0.5,), std=(0.5,)))
    assert "stored validation accuracy" in run(config, tmp_path)["warnings"][0]
    assert run(config, tmp_path)["warnings"] == []


def test_b15_rewinding_brings_back_the_early_weights_bit_for_bit(cache, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "survey_lib.experiment.runs.run_state.fit", lambda model, *_, **choices: seen.append((model, choices)) or []
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


@pytest.mark.parametrize("recovery, epochs, lr", [
    ("none", [2], None), ("finetune", [2, 1], 0.02), ("rewind", [2, 1], 0.1), ("lr-rewind", [2, 1], 0.1),
    ("scratch-e", [2, 2], 0.1), ("scratch-b", [2, 4], 0.1),
])  # fmt: skip
def test_each_recovery_costs_what_it_says(recovery, epochs, lr, cache):
    record = run(RunConfig(**BASE, method="magnitude", sparsity=0.8, recovery=recovery), cache)
    assert [stage["epochs"] for stage in record["ledger"] if stage["epochs"]] == epochs
    macs = record["sizes"]["dense"]["macs"] * 3
    assert all(stage["training_macs"] == stage["examples"] * macs for stage in record["ledger"])
    assert record["sparsity"] == pytest.approx(0.8, abs=1e-4)


def test_rounds_end_at_the_asked_sparsity_with_a_recovery_after_each(cache):
    record = run(RunConfig(**BASE, method="magnitude", sparsity=0.8, schedule="iterative", rounds=3), cache)
    assert record["sparsity"] == pytest.approx(0.8, abs=1e-4)
    assert [stage["stage"] for stage in record["ledger"]] == ["dense"] + ["pruning", "recovery"] * 3


def test_structured_rounds_cut_a_share_of_what_is_left(cache):
    choices = {
        "method": "l1-filter",
        "sparsity": 0.75,
        "schedule": "iterative",
        "rounds": 2,
        "recovery": "rewind",
    }
    record = run(RunConfig(**CONV, **choices), cache)
    assert {layer["layer"]: (layer["total"], layer["kept"]) for layer in record["layers"]}["conv1"] == (16, 4)
    assert record["sparsity"] == pytest.approx(0.75)
    costs = [stage["training_macs"] for stage in record["ledger"] if stage["stage"] == "recovery"]
    assert costs[1] < costs[0] < record["ledger"][0]["training_macs"]


def test_methods_before_training_start_from_new_weights(cache):
    record = run(RunConfig(**BASE, method="snip", sparsity=0.5), cache)
    assert [stage["stage"] for stage in record["ledger"]] == ["pruning", "training", "recovery"]
    assert (
        record["metrics"]["pruned"]["test"]["accuracy"]
        < 0.4
        < record["metrics"]["recovered"]["test"]["accuracy"]
    )


@pytest.mark.parametrize("method", ["slimming", "sfp", "rigl"])
def test_methods_during_training_reach_the_asked_sparsity(method, cache):
    record = run(RunConfig(**CONV, method=method, sparsity=0.5), cache)
    assert record["ledger"][0]["stage"] == "sparsity training"
    assert record["sparsity"] == pytest.approx(0.5, abs=0.02)
    assert record["sizes"]["compression"] > 1.5


def test_the_test_set_is_read_once_after_all_training(cache, monkeypatch):
    events = []
    monkeypatch.setattr("survey_lib.experiment.runs.record.predict",
                        lambda _, x: events.append("evaluation") or torch.zeros(len(x), 10))  # fmt: skip
    monkeypatch.setattr("survey_lib.experiment.runs.run_state.fit", lambda *_, **__: events.append("training") or [])
    run(RunConfig(**BASE, method="magnitude", sparsity=0.5), cache)
    assert events == ["training"] + ["evaluation"] * 9  # three stages, three splits


def test_the_record_says_where_it_was_made_and_what_was_warned(cache):
    record = run(RunConfig(**BASE, method="magnitude", sparsity=0.5), cache)
    assert (
        record["environment"]["threads"] == 1
        and record["environment"]["torch"] == torch.__version__.partition("+")[0]
    )
    assert record["warnings"] == [] and os.listdir(cache)


TICKET = BASE | {"method": "snip", "sparsity": 0.8, "recovery": "none"}


@pytest.mark.parametrize("ticket", ["shuffled", "reinitialised"])
def test_a_changed_ticket_keeps_the_count_of_every_layer(cache, ticket):
    original, changed = (run(RunConfig(**TICKET, ticket=kind), cache) for kind in ("original", ticket))
    assert [layer["kept"] for layer in changed["layers"]] == [layer["kept"] for layer in original["layers"]]
    assert changed["metrics"] != original["metrics"]


def test_a_ticket_needs_masks_on_untrained_weights():
    with pytest.raises(ValueError, match="ticket shuffled needs"):
        RunConfig(**BASE, method="magnitude", sparsity=0.5, ticket="shuffled")


def test_one_layer_alone_is_pruned(cache):
    record = run(RunConfig(**BASE, method="magnitude", sparsity=0.5, layer="3", recovery="none"), cache)
    assert [layer["layer"] for layer in record["layers"]] == ["3"]
    assert record["sizes"]["pruned"]["nonzero_parameters"] == record["sizes"]["dense"]["parameters"] - 300 * 100 // 2


def test_the_corrupted_copy_is_harder_than_the_test_set(cache):
    metrics = run(RunConfig(**BASE, recovery="none"), cache)["metrics"]["dense"]
    assert metrics["corrupted"]["accuracy"] < metrics["test"]["accuracy"]


STORIES = {"data": "stories260K", "model": "stories260K", "recovery": "none"}


def test_the_language_model_is_a_study_like_any_other():
    dense, pruned = (run(RunConfig(**STORIES, **more)) for more in ({}, {"method": "wanda", "sparsity": 0.5}))
    loss = {name: record["metrics"]["recovered"]["test"]["loss"] for name, record in (("dense", dense), ("wanda", pruned))}
    assert loss["dense"] < loss["wanda"] and pruned["sparsity"] == pytest.approx(0.5, abs=0.01)
    assert dense["metrics"]["recovered"]["test"]["divergence"] == 0


@pytest.mark.parametrize("wrong", [{"model": "lenet-300-100"}, {"recovery": "finetune"}, {"method": "snip", "sparsity": 0.5}])
def test_the_language_model_is_pretrained_data_and_model_at_once(wrong):
    with pytest.raises(ValueError, match="stories260K is"):
        RunConfig(**(STORIES | wrong))
