"""Sweeps: grids, resuming, deaths, interrupts, shards, engines."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from survey_lib.cli import main
from survey_lib.experiment import files, records
from survey_lib.experiment.runs.config import RunConfig
from survey_lib.experiment.runs.run import run
from survey_lib.experiment.runs.train import fit
from survey_lib.experiment.sweeps import store, study, sweep

YAML = """
name: trial
question: Does it run?
profiles:
  quick:
    common: {data: digits, model: lenet-300-100, epochs: 2, recovery_epochs: 1, batch_size: 128, seed: [0, 1]}
    grids:
      - {method: [random, magnitude], sparsity: 0.5}
      - {method: dense, recovery: none}
  full:
    grids:
      - {data: digits, model: lenet-300-100, method: random, sparsity: [0.1, 0.2, 0.3]}
"""


def test_a_grid_is_the_product_of_its_lists_and_dense_comes_first(trial):
    configs = study.configs("trial", "quick")
    assert [(c.method, c.seed) for c in configs] == [
        ("dense", 0),
        ("dense", 1),
        ("random", 0),
        ("magnitude", 0),
        ("random", 1),
        ("magnitude", 1),
    ]
    assert {c.profile for c in configs} == {"quick"} and len(study.configs("trial", "full")) == 3


@pytest.mark.parametrize(
    "text, said",
    [
        (YAML.replace("name: trial", "name: other"), "has name: other; write name: trial"),
        (YAML.replace("question", "qestion"), "qestion"),
        (YAML.replace("magnitude]", "magnitud]"), "near: magnitude"),
        (YAML.replace("sparsity: 0.5", "sparsity: 1.5"), "less than 1"),
        ("a: [", "trial.yaml"),
        (
            YAML.replace("sparsity: 0.5", "sparsity: 0.5, method: dense"),
            "'method' is there twice in the mapping of line 8",
        ),
        (YAML.replace("  full:", "  quick:"), "'quick' is there twice"),
        (YAML.replace("seed: [0, 1]", "seed: []"), "a list is empty"),
        (YAML.replace("[random, magnitude]", "[]"), "a list is empty"),
        (
            YAML.replace(
                "seed: [0, 1]",
                f"seed: {list(range(1000))}, evidence: {list(range(1, 1001))}, lr: {[0.1] * 1000}",
            ),
            "2,000,000,000 runs, allowed are 1,000,000",
        ),
    ],
)
def test_a_wrong_study_file_is_named_with_what_is_wrong(text, said, trial):
    (study.FOLDER / "trial.yaml").write_text(text)
    with pytest.raises(ValueError, match=said):
        study.configs("trial", "quick")


def test_unknown_studies_profiles_engines_and_shards_are_refused_before_any_work(trial):
    for call, said in [
        (lambda: sweep.sweep("trail"), "near: trial"),
        (lambda: sweep.sweep("trial", "fast"), "allowed: quick, full"),
        (lambda: sweep.sweep("trial", engine="ray"), "allowed: serial, joblib, dask"),
        (lambda: sweep.sweep("trial", shard="0/2"), "shard must look like"),
        (lambda: sweep.sweep("trial", shard="3/2"), "shard must look like"),
        (lambda: sweep.sweep("trial", engine="dask", jobs=0), "jobs must be at least 1, got 0"),
        (lambda: sweep.sweep("trial", jobs=-1), "jobs must be at least 1, got -1"),
    ]:
        with pytest.raises(ValueError, match=said):
            call()
    assert not trial.exists()


def test_b67_a_sweep_is_resumed_and_failed_runs_are_tried_again(trial, monkeypatch):
    real, calls = sweep.run_chain, []

    def flaky(chain, write):
        calls.append(chain[0].key())
        if chain[0].method == "random" and len(calls) <= 6:
            raise RuntimeError("disk full")
        real(chain, write)

    monkeypatch.setattr(sweep, "run_chain", flaky)
    first = sweep.sweep("trial", engine="serial")
    assert (first.done, len(first.failed), first.left) == (4, 2, 0)
    assert "RuntimeError: disk full" in str(first) and "goes on from here" in str(first)
    second = sweep.sweep("trial", engine="serial")
    assert (second.done, second.failed, len(calls)) == (6, {}, 8)
    sweep.sweep("trial", engine="serial")
    assert len(calls) == 8


CHAIN = """
name: trial
question: What does each round cost?
profiles:
  quick:
    common: {data: digits, model: lenet-300-100, epochs: 2, batch_size: 128, method: imp, schedule: iterative, rate: 0.5,
             scope: layerwise, recovery: rewind}
    grids:
      - {rounds: [1, 3], ticket: [original, reinitialised]}
"""


def test_a_chain_computes_each_round_once_and_its_records_are_those_of_single_runs(
    trial, tmp_path, monkeypatch
):
    (study.FOLDER / "trial.yaml").write_text(CHAIN)
    trainings = []
    monkeypatch.setattr(
        "survey_lib.experiment.runs.record.fit",
        lambda *model, **choices: trainings.append(1) or fit(*model, **choices),
    )
    assert sweep.sweep("trial", engine="serial").done == 4
    assert len(trainings) == 3 + 2  # three rounds, and the last training of each reinitialised ticket
    chained = {record["key"]: timeless(record) for record in store.records("trial")}
    assert chained == {config.key(): timeless(run(config)) for config in study.configs("trial", "quick")}


def timeless(record):
    for entry in record["ledger"]:
        del entry["seconds"], entry["cpu_seconds"]
    return json.loads(records.dump(record))


def test_a_mask_that_empties_a_layer_is_refused_and_counted_apart_and_not_tried_again(trial):
    """Pruned at the start of training, with all weights alike large, the tiny last layer goes first."""
    (study.FOLDER / "trial.yaml").write_text(CHAIN.replace("rounds: [1, 3]", "rounds: [1, 2, 12]"))
    first = sweep.sweep("trial", engine="serial")
    assert (first.done, len(first.refused), first.failed, first.left) == (4, 2, {}, 0)
    assert "leaves nothing of" in str(first) and "refused:" in str(first)
    before = {path: path.stat().st_mtime_ns for path in trial.glob("*.json")}
    sweep.sweep("trial", engine="serial")
    assert before == {path: path.stat().st_mtime_ns for path in trial.glob("*.json")}
    assert sweep.status("trial").iloc[0][["done", "refused", "left"]].tolist() == [4, 2, 0]


def test_b67_a_changed_setting_is_another_run(done):
    (study.FOLDER / "trial.yaml").write_text(YAML.replace("recovery_epochs: 1", "recovery_epochs: 2"))
    study.keys.cache_clear()
    assert sweep.status("trial").iloc[0].left == 6
    assert store.results("trial").empty  # what is no longer asked for is not mixed in


def test_b55_b63_engines_and_order_give_equal_results_and_a_worker_that_dies_costs_one_run(
    done, tmp_path, monkeypatch, accuracies
):
    def deadly(name, chain):
        if chain[0].method == "random" and chain[0].seed == 1:
            os._exit(9)
        return sweep.attempt(name, chain)  # in a worker this is the real one

    serial, other = accuracies(), tmp_path / "other" / "trial"
    monkeypatch.setenv("SURVEY_RUNS", str(other.parent))
    monkeypatch.setattr(sweep.studies, "configs", lambda *_, real=study.configs: real(*_)[::-1])
    with monkeypatch.context() as patch:
        patch.setattr(sweep, "attempt", deadly)
        dead = str(sweep.sweep("trial", engine="joblib", jobs=2))
    assert "5 of 6 runs done, 1 failed" in dead and sweep.DIED in dead
    before = {path.name: path.stat().st_mtime_ns for path in other.glob("*.json")}
    assert sweep.sweep("trial", engine="serial").done == 6 and accuracies() == serial
    changed = [path for path in other.glob("*.json") if before[path.name] != path.stat().st_mtime_ns]
    assert len(changed) == 1


def test_dask_prints_no_log(trial):
    pytest.importorskip("distributed")
    words = ["-m", "survey_lib", "sweep", study.FOLDER / "trial.yaml", "--engine", "dask", "--jobs", "1"]
    ended = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    assert ended.stdout == "trial (quick): 6 of 6 runs done, 0 failed, 0 refused, 0 left\n"
    assert "INFO" not in ended.stderr


def interrupted(studies, runs, output):
    """`survey sweep` in a process of its own, with slow runs of magnitude."""
    run_chain = sweep.run_chain

    def slow(chain, write):
        time.sleep(60 if chain[0].method == "magnitude" else 0)
        run_chain(chain, write)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background is born without one
    os.environ["SURVEY_RUNS"] = runs
    study.FOLDER, sweep.run_chain = studies, slow
    with open(output, "w") as sys.stdout:
        main(["sweep", "trial", "--engine", "serial"])


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_with_a_summary_and_loses_only_what_was_running(kind, trial, tmp_path, children):
    said = tmp_path / "said"
    child = children.Process(target=interrupted, args=(study.FOLDER, os.environ["SURVEY_RUNS"], said))
    child.start()
    deadline = time.monotonic() + 120
    while len(list(trial.glob("*.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(child.pid, kind)
    child.join(60)
    assert child.exitcode == 1 and "3 of 6 runs done, 0 failed, 0 refused, 3 left" in said.read_text()
    assert not list(trial.glob(f"{files.TEMPORARY}*"))


def test_shards_together_are_the_whole_and_share_nothing(trial):
    configs = study.configs("trial", "quick")
    parts = [sweep.part(configs, f"{i}/4") for i in range(1, 5)]
    keys = [config.key() for part in parts for config in part]
    assert sorted(keys) == sorted(config.key() for config in configs) and len(set(keys)) == 6


def test_status_counts_each_profile(trial):
    sweep.sweep("trial", engine="serial", shard="1/2")
    table = sweep.status("trial").set_index("profile")
    counts = table.loc["quick", ["asked", "done", "failed", "left"]]
    assert counts.to_dict() == {"asked": 6, "done": 3, "failed": 0, "left": 3}
    assert 0 <= table.loc["quick", "minutes"] < 1
    assert table["minutes"].isna()["full"]  # nothing done, nothing known
    assert table.loc["full", "left"] == 3


@pytest.mark.parametrize("name", study.names())
def test_the_studies_of_the_repository_are_valid(name):
    for profile in study.load(name).profiles:
        configs = study.configs(name, profile)
        assert any(config.method == "dense" for config in configs)
    full = study.configs(name, "full")
    seeds = 1 if name == "mini" else 3  # mini shows that the chain works; its one seed carries no comparison
    assert (
        len({config.seed for config in full}) >= seeds
        and len({config.dense_key() for config in full}) >= seeds
    )
    assert all(isinstance(config, RunConfig) for config in full)
