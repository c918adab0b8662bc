"""The results store: whole files or none, strict JSON, damaged files run again, equal bytes published."""

import json
import math
import multiprocessing
import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from survey_lib.experiment import records as lines
from survey_lib.experiment.records import pack, unpack
from survey_lib.experiment.runs.config import SCHEMA, RunConfig, key_of
from survey_lib.experiment.runs.record import correct
from survey_lib.experiment.sweeps import store

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def record(seed=0, accuracy=0.5, status="done", profile="full"):
    config = RunConfig(
        data="digits", model="lenet-300-100", method="magnitude", sparsity=0.5, seed=seed, profile=profile
    )
    metrics = {
        "accuracy": accuracy,
        "loss": 1.0,
        "ece": 0.1,
        "agreement": 0.9,
        "per_class_accuracy": [accuracy],
    }
    test = metrics | {"n": 10, "correct": pack(np.arange(10) < round(10 * accuracy))}
    stages = {
        stage: {"validation": metrics, "test": test}
        for stage in ("dense", "pruned", "recalibrated", "recovered")
    }
    size = {
        "parameters": 10,
        "nonzero_parameters": 5,
        "sparsity_all": 0.5,
        "macs": 100,
        "nonzero_macs": 50.0,
    }
    return {
        "schema": SCHEMA,
        "key": config.key(),
        "status": status,
        "reason": "",
        "config": config.model_dump(),
        "method": {
            "category": "weight",
            "structure": "unstructured",
            "unit": "weight",
            "when": "after",
            "version": 1,
        },
        "environment": {"machine": "here", "commit": "abc"},
        "scope": "layerwise",
        "sparsity": 0.5,
        "layers": [
            {"layer": "1", "total": 4, "kept": 2, "sparsity": 0.5},
            {"layer": "3", "total": 4, "kept": 1, "sparsity": 0.75},
        ],
        "metrics": stages,
        "sizes": {"dense": size, "pruned": size, "compression": 2.0, "theoretical_speedup": 2.0},
        "ledger": [
            {
                "stage": "dense",
                "epochs": 2,
                "examples": 4,
                "training_macs": 600,
                "nonzero_training_macs": 300.0,
                "seconds": 1.0,
                "cpu_seconds": 0.9,
            },
            {
                "stage": "recovery",
                "epochs": 1,
                "examples": 2,
                "training_macs": 300,
                "nonzero_training_macs": 90.0,
                "seconds": 3.0,
                "cpu_seconds": 1.0,
            },
        ],
        "curve": [
            {
                "stage": "recovery",
                "epoch": epoch,
                "lr": 0.1,
                "loss": 1.0,
                "validation_accuracy": 0.5,
                "test_accuracy": 0.5 + epoch / 10,
            }
            for epoch in (1, 2)
        ],
    }


class Everything:
    """The keys of a study that asks for whatever run there is."""

    def __contains__(self, key: str) -> bool:
        return True


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("SURVEY_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(store, "PUBLISHED", tmp_path)
    monkeypatch.setattr(store.studies, "keys", lambda _: Everything())
    return tmp_path / "runs" / "trial"


@given(values)
def test_b67_what_is_read_is_what_was_written(value):
    assert json.loads(lines.dump({"value": value})) == {"value": value}


def test_b67_numpy_and_torch_values_survive_strict_json(runs):
    odd = {
        "count": np.int64(3),
        "yes": np.bool_(True),
        "array": np.array([1.5, 0.1]),
        "tensor": torch.tensor([1, 2]),
        "pair": (1, 2),
    }
    path = store.write("trial", record() | {"extra": odd})
    back = store.local_records("trial")[path.stem]["extra"]
    assert list(back.values()) == [[1.5, 0.1], 3, [1, 2], [1, 2], True]
    assert type(back["count"]) is int and type(back["yes"]) is bool


@pytest.mark.parametrize("value", [math.nan, -math.inf, np.float32("nan"), np.array([1.5, np.inf])])
def test_b67_what_strict_json_cannot_hold_is_no_record(value, runs):
    with pytest.raises(ValueError, match="JSON"):
        store.write("trial", record() | {"extra": value})
    assert store.local_records("trial") == {}


def test_b67_a_write_that_fails_leaves_the_old_file_and_no_other(runs, monkeypatch):
    path = store.write("trial", record(accuracy=0.5))
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        store.write("trial", record(accuracy=0.9))
    assert os.listdir(runs) == [path.name]
    assert store.local_records("trial")[path.stem]["metrics"]["dense"]["test"]["accuracy"] == 0.5


@pytest.mark.parametrize(
    "content, said",
    [
        ('{"schema": 1, "key": "', "Unterminated"),
        ("", "Expecting value"),
        ("[1, 2]", "not a record"),
        ('{"name": "someone else\'s"}', "not a record"),
        (
            json.dumps({"schema": SCHEMA + 1, "key": "0", "status": "done", "config": {}}),
            "schema: must be 1 or 2",
        ),
        (lines.dump(record(seed=1)), "holds the run"),
    ],
    ids=["half-written", "empty", "list", "foreign", "future", "renamed"],
)
def test_b67_unreadable_files_are_named_and_left_out(content, said, runs):
    good = store.write("trial", record())
    (runs / "bad.json").write_text(content)
    with pytest.warns(UserWarning, match=f"bad.json.*{said}"):
        assert store.local_records("trial").keys() == {good.stem}


def _write_many(seeds):
    for seed in seeds:
        store.write("trial", record(seed))


def test_b67_two_processes_write_together(runs):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_write_many, args=(range(20),)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(store.local_records("trial")) == 20 == len(os.listdir(runs))


def at(record, place, value):
    """The record with one value changed; a place is a path such as `metrics.dense.test.accuracy`."""
    *parents, last = place.split(".")
    record = json.loads(json.dumps(record))
    target = record
    for name in parents:
        target = target[int(name) if isinstance(target, list) else name]
    target[last] = value
    return record


IMPOSSIBLE = [
    ("metrics.recovered.test.accuracy", 5.0),
    ("metrics.recovered.test.accuracy", 0.6),  # the bits say 0.5
    ("metrics.dense.validation.ece", -0.1),
    ("metrics.pruned.test.agreement", 1.1),
    ("metrics.dense.test.loss", math.nan),
    ("metrics.dense.test.loss", math.inf),
    ("metrics.dense.test.n", 17),
    ("metrics.dense.test.correct", "not base64"),
    ("metrics.dense.training", {}),
    ("metrics.later", {}),
    ("sparsity", 7.0),
    ("layers.0.kept", -1),
    ("sizes.dense.parameters", 0),
    ("sizes.compression", 0.0),
    ("ledger.0.examples", -1),
    ("ledger.0.cpu_seconds", "fast"),
    ("curve.0.loss", math.nan),
    ("config.seed", 1),
    ("config.sparsity", 0.6),
    ("config.protect", "ends"),  # no field any more
    ("method.version", 2),
    ("schema", 1),
    ("status", "well"),
    ("key", "0" * 16),
]


@pytest.mark.parametrize("place, value", IMPOSSIBLE)
def test_values_that_cannot_be_are_refused_when_written_and_when_read(place, value, runs, tmp_path):
    wrong = at(record(), place, value)
    with pytest.raises(ValueError):
        store.write("trial", wrong)
    path = runs / f"{record()['key']}.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(wrong))
    with pytest.warns(UserWarning, match="left out"):
        assert store.local_records("trial") == {}
    (tmp_path / "trial.jsonl").write_text(lines.dump(record()) + "\n" + json.dumps(wrong) + "\n")
    with pytest.raises(ValueError, match="trial.jsonl, line 2"):
        store.results("trial", local=False)


def test_every_published_line_holds():
    for path in store.published_file("*").parent.glob("*.jsonl"):
        assert len(store.published_records(path.stem)) == len(path.read_text().splitlines())


def test_which_test_examples_were_right_can_be_read_back(runs):
    path = store.write("trial", record(accuracy=0.3))
    back = store.local_records("trial")[path.stem]
    assert correct(back).tolist() == correct(back, "recalibrated").tolist() == [True] * 3 + [False] * 7
    for other, stage in ((back, "later"), (back | {"metrics": {}}, "dense")):
        with pytest.raises(ValueError, match=f"at stage '{stage}'; it has: "):
            correct(other, stage)


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_bits_survive_packing(right):
    assert unpack(pack(np.array(right)), len(right)).tolist() == right


def test_results_is_tidy_with_one_row_a_run(runs):
    for seed in (1, 0):
        store.write("trial", record(seed, accuracy=0.5 + seed / 10))
    frame = store.results("trial")
    assert frame["seed"].tolist() == [0, 1] and frame["accuracy"].tolist() == [0.5, 0.6]
    first = frame.iloc[0]
    assert (first.method, first.category, first.compression, first.training_macs) == (
        "magnitude",
        "weight",
        2.0,
        900,
    )
    assert (first.examples, first.trained_epochs, first.recovery_macs) == (6, 3, 300)
    assert (first.test_n, first.recalibrated_accuracy, first.best_test_accuracy) == (10, 0.5, 0.7)
    assert (first.seconds, first.cpu_seconds) == (4.0, 1.9)
    assert first.parameters == 10 and first.status == "done"


def test_failed_runs_stand_in_the_table_with_their_reason(runs):
    bad = {k: record()[k] for k in ("schema", "key", "config", "method", "environment")}
    store.write("trial", bad | {"status": "failed", "reason": "FloatingPointError: the loss became nan"})
    row = store.results("trial").iloc[0]
    assert row.status == "failed" and "loss became nan" in row.reason and math.isnan(row.accuracy)


def test_b88_an_unknown_study_is_an_error(runs):
    with pytest.raises(ValueError, match="unknown study 'nothing'"):
        store.results("nothing")


def test_a_study_without_runs_is_an_empty_table_with_all_columns(runs):
    frame = store.results("comparison")
    assert frame.empty and {"method", "accuracy", "compression"} <= set(frame.columns)


def test_local_runs_lie_over_published_ones(runs, tmp_path):
    for seed in (0, 1):
        store.write("trial", record(seed, accuracy=0.5))
    store.publish("trial")
    (runs / f"{record(1)['key']}.json").unlink()
    store.write("trial", record(0, accuracy=0.9))
    assert store.results("trial")["accuracy"].tolist() == [0.9, 0.5]
    assert store.results("trial", local=False)["accuracy"].tolist() == [0.5, 0.5]


def test_a_profile_can_be_chosen(runs):
    store.write("trial", record(profile="quick"))
    store.write("trial", record(profile="full"))
    assert store.results("trial", profile="quick")["profile"].tolist() == ["quick"]


def test_publishing_twice_gives_the_same_sorted_bytes_and_only_finished_runs(runs, tmp_path):
    for seed in (3, 1, 2):
        store.write("trial", record(seed))
    store.write("trial", record(4, status="failed"))
    path = store.publish("trial")
    first = path.read_bytes()
    assert store.publish("trial").read_bytes() == first
    lines = [json.loads(line) for line in first.decode().splitlines()]
    assert [line["key"] for line in lines] == sorted(record(seed)["key"] for seed in (1, 2, 3))


def test_refused_runs_are_published_too(runs, tmp_path):
    store.write(
        "trial",
        {k: record()[k] for k in ("schema", "key", "config", "method", "environment")}
        | {"status": "refused", "reason": "nothing is left of conv1"},
    )
    store.publish("trial")
    assert store.results("trial", local=False)["status"].tolist() == ["refused"]


def test_published_seconds_are_left_out_where_the_processor_was_shared(runs, tmp_path):
    store.write("trial", record())
    (line,) = store.publish("trial").read_text().splitlines()
    assert [(s["seconds"], s["cpu_seconds"]) for s in json.loads(line)["ledger"]] == [(1.0, 0.9), (None, 1.0)]
    assert [point["epoch"] for point in json.loads(line)["curve"]] == [2]
    row = store.results("trial", local=False).iloc[0]
    assert math.isnan(row.seconds) and row.cpu_seconds == 1.9


def test_publishing_drops_no_published_run_unless_it_is_told_to(runs, tmp_path, monkeypatch):
    for seed in (0, 1):
        store.write("trial", record(seed))
    before = store.publish("trial").read_bytes()
    monkeypatch.setattr(store.studies, "keys", lambda _: frozenset({record(1)["key"]}))
    with pytest.raises(
        ValueError, match=f"1 published runs of trial would be dropped, such as {record(0)['key']}.*--prune"
    ):
        store.publish("trial")
    assert (tmp_path / "trial.jsonl").read_bytes() == before
    store.publish("trial", prune=True)
    assert store.published_records("trial").keys() == {record(1)["key"]}


def test_a_run_of_another_version_takes_the_place_of_the_published_one(runs, tmp_path):
    old = record()
    old |= {"method": old["method"] | {"version": 2}, "key": key_of(old["config"], SCHEMA, 2)}
    (tmp_path / "trial.jsonl").write_text(lines.dump(old) + "\n")
    store.write("trial", record())
    store.publish("trial")
    assert store.published_records("trial").keys() == {record()["key"]}


def test_publishing_nothing_says_what_to_do(runs, tmp_path):
    with pytest.raises(ValueError, match="first: survey sweep trial --profile full"):
        store.publish("trial")


def test_a_damaged_published_line_is_named(runs, tmp_path):
    (tmp_path / "trial.jsonl").write_text('{"schema": 1\n')
    with pytest.raises(ValueError, match="trial.jsonl, line 1"):
        store.results("trial", local=False)
