"""RunConfig: what is refused and how, and keys that change with everything that changes a run."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from survey_lib.catalogue import METHODS
from survey_lib.experiment.runs import config as configs
from survey_lib.experiment.runs.config import RunConfig

BASE = {"data": "digits", "model": "lenet-300-100", "method": "magnitude", "sparsity": 0.5}


@pytest.mark.parametrize("change, said", [
    ({"data": "digit"}, "near: digits"),
    ({"model": "lenet300"}, "near: lenet-300-100"),
    ({"method": "magnitud"}, "near: magnitude"),
    ({"sparsity": 1.0}, "less than 1"),
    ({"sparsity": -0.1}, "greater than or equal to 0"),
    ({"sparsity": float("nan")}, "finite"),
    ({"sparsity": "0.5"}, "valid number"),
    ({"scope": "local"}, "'layerwise', 'global' or 'erk'"),
    ({"schedule": "slow"}, "'one-shot', 'iterative' or 'gradual'"),
    ({"recovery": "retrain"}, "'finetune'"),
    ({"optimizer": "adam"}, "'sgd' or 'adamw'"),
    ({"rounds": 3}, "one-shot has one round"),
    ({"rounds": 0, "schedule": "iterative"}, "greater than or equal to 1"),
    ({"recovery": "scratch-e", "schedule": "iterative", "rounds": 2}, "schedule one-shot"),
    ({"epochs": 3, "rewind_epoch": 3}, "rewind_epoch must lie before epochs=3"),
    ({"method": "snip", "recovery": "rewind"}, "nothing to rewind to"),
    ({"method": "snip", "schedule": "iterative", "rounds": 2}, "prunes before training"),
    ({"method": "dense"}, "dense is the baseline"),
    ({"method": "nm-magnitude:2:4", "sparsity": 0.8}, "removes exactly 0.5"),
    ({"spasity": 0.5}, "unknown field 'spasity'; near: sparsity"),
    ({"lr": 0.0}, "greater than 0"),
])  # fmt: skip
def test_a_wrong_value_is_named_with_what_is_allowed(change, said):
    with pytest.raises(ValidationError) as error:
        RunConfig(**BASE | change)
    assert said in str(error.value)


def test_configs_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        RunConfig(**BASE).sparsity = 0.9


OTHER = {"data": "eurosat32-mini", "model": "resnet-8", "method": "random", "sparsity": 0.6, "scope": "global",
         "recovery": "none", "epochs": 9, "recovery_epochs": 9, "rewind_epoch": 2, "lr": 0.3, "recovery_lr": 0.3,
         "optimizer": "adamw", "lr_schedule": "step", "batch_size": 9, "weight_decay": 0.3, "evidence": 9, "seed": 9,
         "device": "cuda", "layer": "1", "profile": "quick"}  # fmt: skip


def test_b67_every_field_changes_the_key():
    together = {"schedule": {"schedule": "gradual"}, "rounds": {"schedule": "iterative", "rounds": 2},
                "ticket": {"ticket": "shuffled", "recovery": "rewind"}}  # fmt: skip
    changes = {name: {name: value} for name, value in OTHER.items()} | together
    assert changes.keys() == RunConfig.model_fields.keys()
    keys = [RunConfig(**BASE | change).key() for change in changes.values()]
    assert len({RunConfig(**BASE).key(), *keys}) == len(changes) + 1


def test_b67_the_methods_version_and_the_schema_change_the_key(monkeypatch):
    before = RunConfig(**BASE).key()
    monkeypatch.setitem(METHODS, "magnitude", METHODS["magnitude"].__class__(
        **METHODS["magnitude"].__dict__ | {"version": METHODS["magnitude"].version + 1}))  # fmt: skip
    raised = RunConfig(**BASE).key()
    monkeypatch.setattr(configs, "SCHEMA", configs.SCHEMA + 1)
    assert len({before, raised, RunConfig(**BASE).key()}) == 3


def test_keys_are_equal_in_another_process():
    code = f"from survey_lib.experiment.runs.config import RunConfig; print(RunConfig(**{BASE!r}).key())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == RunConfig(**BASE).key()


def test_methods_of_a_seed_share_the_dense_network():
    same = [
        {"method": "random"},
        {"sparsity": 0.9},
        {"recovery": "none"},
        {"recovery_lr": 0.5},
        {"profile": "full"},
    ]
    different = [{"seed": 1}, {"epochs": 9}, {"lr": 0.5}, {"model": "resnet-8"}, {"rewind_epoch": 0}]
    key = RunConfig(**BASE).dense_key()
    assert {RunConfig(**BASE | change).dense_key() for change in same} == {key}
    assert len({RunConfig(**BASE | change).dense_key() for change in different} | {key}) == 6
