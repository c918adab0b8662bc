"""RunConfig: what is refused and how, and keys that change with everything that changes a run."""

import json

import pytest
from pydantic import ValidationError

from survey_lib.catalogue import METHODS
from survey_lib.experiment.runs import config as configs
from survey_lib.experiment.runs.config import RunConfig
from survey_lib.experiment.sweeps import store

BASE = {"data": "digits", "model": "lenet-300-100", "method": "magnitude", "sparsity": 0.5}


@pytest.mark.parametrize(
    "change, said",
    [
        ({"data": "digit"}, "near: digits"),
        ({"model": "lenet300"}, "near: lenet-300-100"),
        ({"method": "magnitud"}, "near: magnitude"),
        ({"sparsity": 1.0}, "less than 1"),
        ({"sparsity": -0.1}, "greater than or equal to 0"),
        ({"sparsity": float("nan")}, "finite"),
        ({"sparsity": "0.5"}, "valid number"),
        ({"scope": "local"}, "'layerwise', 'global' or 'erk'"),
        ({"schedule": "slow"}, "'one-shot' or 'iterative'"),
        ({"recovery": "retrain"}, "'finetune'"),
        ({"optimizer": "adan"}, "'sgd', 'heavy-ball', 'adam' or 'adamw'"),
        ({"rounds": 3}, "one-shot has one round"),
        ({"rounds": 0, "schedule": "iterative"}, "greater than or equal to 1"),
        ({"recovery": "scratch-e", "schedule": "iterative", "rounds": 2}, "schedule one-shot"),
        (
            {"epochs": 3, "rewind_epoch": 3, "recovery": "rewind"},
            "rewind_epoch must lie before epochs=3, got 3 (1 unless you set it); write rewind_epoch: 2",
        ),
        ({"method": "snip", "recovery": "rewind"}, "nothing to rewind to"),
        ({"method": "snip", "schedule": "iterative", "rounds": 2}, "prunes before training"),
        ({"method": "imp"}, "schedule iterative, rounds of at least 2, recovery rewind"),
        ({"method": "imp", "schedule": "iterative", "rounds": 3}, "got iterative, 3, finetune"),
        ({"method": "imp", "schedule": "iterative", "recovery": "rewind"}, "got iterative, 1, rewind"),
        ({"method": "dense"}, "dense is the baseline"),
        (
            {"method": "dense", "sparsity": 0.0, "recovery": "rewind"},
            "finetune or lr-rewind, or none; got rewind",
        ),
        ({"macs": 0.5}, "macs is for a structured method, one-shot, without sparsity; got magnitude 0.5"),
        ({"method": "l1-filter", "sparsity": 0.0, "macs": 1.5}, "less than or equal to 1"),
        ({"method": "snip", "when": "before"}, "snip acts before it anyway"),
        ({"when": "before", "recovery": "rewind"}, "nothing to rewind to"),
        ({"rate": 0.2}, "schedule iterative and sparsity 0.2; got one-shot 0.5"),
        ({"rate": 0.2, "schedule": "iterative", "rounds": 2}, "sparsity 0.36; got iterative 0.5"),
        ({"output_rate": 0.1}, "output_rate needs rate"),
        ({"validation": 3}, "greater than or equal to 10"),
        (
            {"data": "stories260K", "model": "stories260K", "recovery": "none", "inputs": "unit"},
            "without inputs",
        ),
        ({"method": "nm-magnitude:2:4", "sparsity": 0.8}, "removes exactly 0.5"),
        ({"spasity": 0.5}, "unknown field 'spasity'; near: sparsity"),
        ({"lr": 0.0}, "greater than 0"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(change, said):
    with pytest.raises(ValidationError) as error:
        RunConfig(**BASE | change)
    assert said in str(error.value)


def test_configs_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        RunConfig(**BASE).sparsity = 0.9


LATER = {
    "optimizer": "adam",
    "when": "before",
    "init": "he",
    "inputs": "unit",
    "validation": 99,
    "track_test": True,
}
OTHER = {
    "data": "eurosat32-mini",
    "model": "resnet-8",
    "method": "random",
    "sparsity": 0.6,
    "scope": "global",
    "recovery": "none",
    "epochs": 9,
    "recovery_epochs": 9,
    "rewind_epoch": 2,
    "lr": 0.3,
    "recovery_lr": 0.3,
    "lr_schedule": "step",
    "batch_size": 9,
    "weight_decay": 0.3,
    "evidence": 9,
    "seed": 9,
    "device": "cuda",
    "layer": "1",
    "profile": "quick",
} | LATER


def test_b67_every_field_changes_the_key():
    together = {
        "schedule": {"schedule": "iterative"},
        "rounds": {"schedule": "iterative", "rounds": 2},
        "ticket": {"ticket": "shuffled", "recovery": "rewind"},
        "macs": {"macs": 0.5, "method": "l1-filter", "sparsity": 0.0},
        "rate": {"rate": 0.2, "schedule": "iterative", "rounds": 2, "sparsity": 0.36},
        "output_rate": {
            "rate": 0.2,
            "schedule": "iterative",
            "rounds": 2,
            "sparsity": 0.36,
            "output_rate": 0.1,
        },
    }
    changes = {name: {name: value} for name, value in OTHER.items()} | together
    assert changes.keys() == RunConfig.model_fields.keys()
    keys = [RunConfig(**BASE | change).key() for change in changes.values()]
    assert len({RunConfig(**BASE).key(), *keys}) == len(changes) + 1


def test_b67_the_methods_version_and_the_schema_change_the_key(monkeypatch):
    before = RunConfig(**BASE).key()
    monkeypatch.setitem(
        METHODS,
        "magnitude",
        METHODS["magnitude"].__class__(
            **METHODS["magnitude"].__dict__ | {"version": METHODS["magnitude"].version + 1}
        ),
    )
    raised = RunConfig(**BASE).key()
    monkeypatch.setattr(configs, "SCHEMA", configs.SCHEMA + 1)
    assert len({before, raised, RunConfig(**BASE).key()}) == 3


def published():
    for path in sorted(store.published_file("*").parent.glob("*.jsonl")):
        yield from map(json.loads, path.read_text(encoding="utf-8").splitlines())


def test_every_published_key_is_that_of_its_config_schema_and_version():
    for record in published():
        version = record["method"]["version"]
        version = 1 if version == "dense" else version
        assert configs.key_of(record["config"], record["schema"], version) == record["key"]
        stored = configs.identity(record["config"])
        assert configs.identity(RunConfig(**stored).model_dump()) == stored


def test_keys_stay_what_they_are():
    """Written down when schema 2 was frozen: fields that come later must not change them."""
    assert RunConfig(**BASE).key() == "5bc70c3c8f7765b1"
    assert RunConfig(**BASE, **LATER).key() == "7d6a37014290d2c7"
    assert RunConfig(**BASE).dense_key() == "2fa0dfe55e7c7f09"


def test_a_field_that_comes_later_changes_only_the_keys_of_runs_that_use_it(monkeypatch):
    class Longer(RunConfig):
        warmup: int = 0

    before = RunConfig(**BASE).key()
    monkeypatch.setattr(configs, "RunConfig", Longer)
    assert Longer(**BASE).key() == before == Longer(**BASE, warmup=0).key() != Longer(**BASE, warmup=5).key()


def test_a_rate_sets_the_sparsity_and_its_rounds_are_a_prefix_of_longer_chains():
    short, long = (RunConfig(**RATE, rounds=rounds) for rounds in (2, 3))
    assert (short.sparsity, long.sparsity) == (0.36, 0.488)
    assert long.steps() == [0.2, 0.36, 0.488] and short.steps() == long.steps()[:2]
    assert RunConfig(**long.model_dump()) == long  # as a record stores it
    same = [short, long, RunConfig(**RATE, rounds=2, ticket="shuffled")]
    assert len({config.chain_key() for config in same}) == 1 and len({config.key() for config in same}) == 3
    assert RunConfig(**RATE, rounds=2, seed=1).chain_key() != short.chain_key()


RATE = {
    "data": "digits",
    "model": "lenet-300-100",
    "method": "imp",
    "schedule": "iterative",
    "recovery": "rewind",
    "rate": 0.2,
}


def test_keys_are_equal_in_another_process(children):
    with children.Pool(1) as pool:
        assert pool.apply(RunConfig(**BASE).key) == RunConfig(**BASE).key()


def test_methods_of_a_seed_share_the_dense_network():
    same = [
        {"method": "random"},
        {"sparsity": 0.9},
        {"recovery": "none"},
        {"recovery_lr": 0.5},
        {"profile": "full"},
        {"device": "cuda"},
    ]
    different = [
        {"seed": 1},
        {"inputs": "unit"},
        {"init": "he"},
        {"validation": 99},
        {"track_test": True},
        {"epochs": 9},
        {"lr": 0.5},
        {"model": "resnet-8"},
        {"rewind_epoch": 0},
    ]
    key = RunConfig(**BASE).dense_key()
    assert {RunConfig(**BASE | change).dense_key() for change in same} == {key}
    assert len({RunConfig(**BASE | change).dense_key() for change in different} | {key}) == 10
