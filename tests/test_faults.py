"""Deaths, full disks and second sweeps: nothing is lost, nothing is counted twice."""

import errno
import json
import math
import multiprocessing
import os
import random
import time

import pytest

from survey_lib.experiment import files
from survey_lib.experiment.sweeps import index, store, study, sweep

YAML = """
name: trial
question: Does it run?
profiles:
  quick:
    common: {data: digits, model: lenet-300-100, epochs: 2, recovery_epochs: 1, batch_size: 128, seed: [0, 1]}
    grids:
      - {method: [random, magnitude], sparsity: 0.5}
      - {method: dense, recovery: none}
  diverging:
    common: {data: digits, model: lenet-300-100, epochs: 2, recovery_epochs: 2, batch_size: 128, lr: 0.1}
    grids:
      - {method: random, sparsity: 0.5, recovery_lr: 1.0e+30}
      - {method: dense, recovery: none}
"""
CHILDREN = multiprocessing.get_context("forkserver")  # autograd does not survive a fork of a process that used it
CHILDREN.set_forkserver_preload(["survey_lib.experiment.sweeps.sweep"])


def serial():
    return sweep.sweep("trial", engine="serial", progress=False)


def serial_in(studies, runs):
    study.FOLDER = studies
    os.environ["SURVEY_RUNS"] = runs
    serial()


def child():
    """The same sweep in a process of its own."""
    return CHILDREN.Process(target=serial_in, args=(study.FOLDER, os.environ["SURVEY_RUNS"]))


def finished(folder):
    """Time of writing of each whole file: none is ever written a second time."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.json")}


def test_kill_9_of_the_sweep_at_random_moments_loses_and_repeats_nothing(trial, tmp_path, monkeypatch, accuracies):
    moments, before = random.Random(0), {}
    for _ in range(6):
        victim = child()
        victim.start()
        time.sleep(moments.uniform(0.2, 1.2))
        victim.kill()
        victim.join()
        now = finished(trial) if trial.exists() else {}
        assert before.items() <= now.items()
        before = now
    assert serial().done == 6 and before.items() <= finished(trial).items()
    killed = accuracies()
    monkeypatch.setenv("SURVEY_RUNS", str(tmp_path / "undisturbed"))
    serial()
    assert accuracies() == killed and len(killed) == 6


def test_two_sweeps_on_one_store_end_with_each_run_once(trial):
    pair = [child() for _ in range(2)]
    for one in pair:
        one.start()
    for one in pair:
        one.join()
    assert [one.exitcode for one in pair] == [0, 0]
    assert len(finished(trial)) == 6 == store.results("trial", published="nowhere")["status"].eq("done").sum()
    assert sorted(path.suffix for path in trial.iterdir()) == ["", *[".json"] * 6]  # the index, no temporary file


def test_a_full_disk_stops_the_sweep_with_the_reason_and_it_goes_on_when_there_is_room(trial, monkeypatch):
    real, written = os.fsync, []

    def full(descriptor):
        written.append(descriptor)
        if len(written) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", full)
    stopped = serial()
    assert (stopped.done, stopped.left) == (2, 4)
    assert "stopped: [Errno 28] No space left on device" in str(stopped) and "goes on from here" in str(stopped)
    assert len(list(trial.iterdir())) == 2
    before = finished(trial)
    monkeypatch.setattr(files.os, "fsync", real)
    assert serial().done == 6 and before.items() <= finished(trial).items()


def test_a_loss_that_becomes_nan_is_a_failed_run_with_its_reason_and_no_result(trial):
    done = sweep.sweep("trial", "diverging", engine="serial", progress=False)
    assert (done.done, len(done.failed), done.left) == (1, 1, 0)
    assert "the loss became" in str(done) and "lower lr" in str(done)
    frame = store.results("trial", published="nowhere").set_index("method")
    assert frame.loc["random", "status"] == "failed" and math.isnan(frame.loc["random", "accuracy"])
    assert frame.loc["dense", "accuracy"] > 0.5


DAMAGE = {
    "cut off": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "foreign": lambda text: json.dumps({"name": "someone else's"}),
    "future schema": lambda text: text.replace('"schema": 2', '"schema": 99'),
    "another shape": lambda text: text.replace('"accuracy": ', '"acuracy": '),
    "text for a number": lambda text: text.replace('"seed": 0', '"seed": "0"').replace('"seed": 1', '"seed": "1"'),
    "too deep": lambda text: "[" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_file_damaged_after_it_was_read_is_named_set_aside_and_run_again(damage, trial, accuracies):
    serial()
    whole = accuracies()
    victim = sorted(trial.glob("*.json"))[2]
    victim.write_text(damage(victim.read_text()))
    with pytest.warns(UserWarning, match=victim.name):
        assert len(accuracies()) == 5
    assert (trial / store.ASIDE / victim.name).exists()
    before = finished(trial)
    assert serial().done == 6 and before.items() <= finished(trial).items() and accuracies() == whole


@pytest.mark.parametrize("content", ["", "{", "[]", '{"made by": "x", "files": {}}', '{"made by": 1}'])
def test_a_damaged_index_is_made_again(content, trial, accuracies):
    serial()
    whole = accuracies()
    (trial / index.NAME).write_text(content)
    assert accuracies() == whole
    assert len(json.loads((trial / index.NAME).read_text())["files"]) == 6


def _read_only(folder, queue):
    if os.getuid() == 0:
        os.setuid(65534)  # nobody: root may write anywhere
    try:
        store.write("trial", next(iter(store.local_records("trial", folder).values())), folder)
        queue.put("could write")
    except PermissionError:
        frame = store.results("trial", folder, folder)
        queue.put((len(frame), frame["accuracy"].notna().sum()))


def test_a_read_only_checkout_still_reads_published_and_local_results(trial, tmp_path):
    """A cut-off file there is left out and named, though it cannot be moved."""
    serial()
    store.publish("trial", published=trial.parent, profile="quick")
    for path in sorted(trial.glob("*.json"))[3:]:
        path.unlink()
    (trial / "0000000000000000.json").write_text("{")
    (trial / index.NAME).unlink()
    for path in (trial, trial.parent):
        path.chmod(0o555)
    for path in tmp_path.parents:
        if path.stat().st_uid == os.getuid() and str(path).startswith("/tmp/"):
            path.chmod(path.stat().st_mode | 0o055)
    tmp_path.chmod(0o755)
    fork = multiprocessing.get_context("fork")  # a reader computes no gradients; root must give up its rights first
    queue = fork.Queue()
    child = fork.Process(target=_read_only, args=(trial.parent, queue))
    child.start()
    child.join()
    for path in (trial.parent, trial):
        path.chmod(0o755)
    assert queue.get(timeout=10) == (6, 6) and (trial / "0000000000000000.json").exists()


def test_what_a_killed_writer_leaves_is_never_taken_for_a_run(trial, accuracies):
    serial()
    (trial / "abc.deadbeef.tmp").write_text('{"schema": 1')
    assert len(accuracies()) == 6 and serial().done == 6
