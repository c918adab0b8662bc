"""Deaths, full disks and second sweeps: nothing is lost, nothing is counted twice."""

import contextlib
import errno
import json
import math
import multiprocessing
import os
import random
import time
from pathlib import Path

import pytest
import torch

from survey_lib.experiment import files
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
  diverging:
    common: {data: digits, model: lenet-300-100, epochs: 2, recovery_epochs: 2, batch_size: 128, lr: 0.1}
    grids:
      - {method: random, sparsity: 0.5, recovery_lr: 1.0e+30}
      - {method: dense, recovery: none}
"""


def serial():
    return sweep.sweep("trial", engine="serial")


def serial_in(studies, runs):
    study.FOLDER = studies
    os.environ["SURVEY_RUNS"] = runs
    serial()


@pytest.fixture
def child(trial, children):
    """The same sweep in a process of its own; autograd does not survive a fork of a process that used it."""
    return lambda: children.Process(target=serial_in, args=(study.FOLDER, os.environ["SURVEY_RUNS"]))


def finished(folder):
    """Time of writing of each whole file: none is ever written a second time."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.json")}


def test_kill_9_of_the_sweep_at_random_moments_loses_and_repeats_nothing(
    trial, child, swept, monkeypatch, accuracies
):
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
    monkeypatch.setenv("SURVEY_RUNS", str(swept))  # undisturbed
    assert accuracies() == killed and len(killed) == 6


def test_two_sweeps_on_one_store_end_with_each_run_once(trial, child):
    pair = [child() for _ in range(2)]
    for one in pair:
        one.start()
    for one in pair:
        one.join()
    assert [one.exitcode for one in pair] == [0, 0]
    assert len(finished(trial)) == 6 == store.results("trial")["status"].eq("done").sum()
    assert [path.suffix for path in trial.iterdir()] == [".json"] * 6  # no temporary file


def test_a_full_disk_stops_the_sweep_with_the_reason_and_it_goes_on_when_there_is_room(trial, monkeypatch):
    real, written = os.fsync, []

    def full(descriptor):
        written.append(descriptor)
        if len(written) > 4:  # two dense networks and two runs
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", full)
    stopped = serial()
    assert (stopped.done, stopped.left) == (2, 4)
    assert "stopped: [Errno 28] No space left on device" in str(stopped) and "goes on from here" in str(
        stopped
    )
    assert len(list(trial.iterdir())) == 2
    before = finished(trial)
    monkeypatch.setattr(files.os, "fsync", real)
    assert serial().done == 6 and before.items() <= finished(trial).items()


def test_a_loss_that_becomes_nan_is_a_failed_run_with_its_reason_and_no_result(trial):
    done = sweep.sweep("trial", "diverging", engine="serial")
    assert (done.done, len(done.failed), done.left) == (1, 1, 0)
    assert "the loss became" in str(done) and "lower lr" in str(done)
    frame = store.results("trial").set_index("method")
    assert frame.loc["random", "status"] == "failed" and math.isnan(frame.loc["random", "accuracy"])
    assert frame.loc["dense", "accuracy"] > 0.5


DAMAGE = {
    "cut off": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "foreign": lambda text: json.dumps({"name": "someone else's"}),
    "future schema": lambda text: text.replace('"schema": 2', '"schema": 99'),
    "another shape": lambda text: text.replace('"accuracy": ', '"acuracy": '),
    "text for a number": lambda text: text.replace('"seed": 0', '"seed": "0"').replace(
        '"seed": 1', '"seed": "1"'
    ),
    "too deep": lambda text: "[" * 100_000,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.filterwarnings("ignore:.*left out")
def test_a_file_damaged_after_it_was_read_is_named_and_run_again(damage, done, accuracies):
    whole = accuracies()
    victim = sorted(done.glob("*.json"))[2]
    victim.write_text(damage(victim.read_text()))
    with pytest.warns(UserWarning, match=victim.name):
        assert len(accuracies()) == 5
    before = finished(done)
    del before[victim.name]
    assert serial().done == 6 and before.items() <= finished(done).items() and accuracies() == whole


ENTRIES = {
    "links in a circle": lambda path: path.symlink_to(path.name),
    "a link that leads nowhere": lambda path: path.symlink_to("nowhere"),
    "a pipe": os.mkfifo,
    "a device without an end": lambda path: path.symlink_to("/dev/zero"),
    "bytes": lambda path: path.write_bytes(bytes(range(256))),
    "nobody may read it": lambda path: (path.write_text("{}"), path.chmod(0)),
}


@pytest.mark.parametrize("make", ENTRIES.values(), ids=ENTRIES)
@pytest.mark.filterwarnings("ignore:.*left out")
def test_an_entry_that_cannot_be_read_blocks_nothing(make, done, accuracies):
    first = study.configs("trial", "quick")[0].key()
    (done / f"{first}.json").unlink()
    for key in (first, "0123456789abcdef"):
        make(done / f"{key}.json")
    assert len(accuracies()) == 5
    again = serial()
    assert (again.done, again.failed, again.left) == (6, {}, 0) and len(accuracies()) == 6


def test_a_file_in_place_of_the_runs_folder_is_named(tmp_path, monkeypatch):
    (tmp_path / "runs").write_text("mine")
    monkeypatch.setenv("SURVEY_RUNS", str(tmp_path / "runs"))
    with pytest.raises(ValueError, match="set SURVEY_RUNS to a folder"):
        store.results("mini")


@pytest.mark.parametrize("device", ["cuda", "cuda:7", "cdua", "meta", "mps", ""])
@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_gives_failed_runs_and_a_summary(device, trial):
    text = YAML.replace(
        "epochs: 2, recovery_epochs: 1,", f"epochs: 2, recovery_epochs: 1, device: '{device}',"
    )
    (study.FOLDER / "trial.yaml").write_text(text)
    study.keys.cache_clear()
    done = serial()
    assert (done.done, len(done.failed), done.left) == (0, 6, 0) and "6 failed" in str(done)
    assert store.results("trial")["status"].tolist() == ["failed"] * 6


def _read_only(queue):
    if os.getuid() == 0:
        os.setuid(65534)  # nobody: root may write anywhere
    try:
        store.write("trial", next(iter(store.local_records("trial").values())))
        queue.put("could write")
    except PermissionError:
        frame = store.results("trial")
        queue.put((len(frame), frame["accuracy"].notna().sum()))


def test_a_read_only_checkout_still_reads_published_and_local_results(done, tmp_path, monkeypatch):
    """A cut-off file there is left out and named, though it cannot be moved."""
    monkeypatch.setattr(store, "PUBLISHED", done.parent)
    store.publish("trial", profile="quick")
    for path in sorted(done.glob("*.json"))[3:]:
        path.unlink()
    (done / "0000000000000000.json").write_text("{")
    for path in (done, done.parent):
        path.chmod(0o555)
    for path in tmp_path.parents:
        if path.stat().st_uid == os.getuid() and str(path).startswith("/tmp/"):
            path.chmod(path.stat().st_mode | 0o055)
    tmp_path.chmod(0o755)
    fork = multiprocessing.get_context(
        "fork"
    )  # a reader computes no gradients; root must give up its rights first
    queue = fork.Queue()
    child = fork.Process(target=_read_only, args=(queue,))
    child.start()
    child.join()
    for path in (done.parent, done):
        path.chmod(0o755)
    assert queue.get(timeout=10) == (6, 6) and (done / "0000000000000000.json").exists()


def test_what_a_killed_writer_leaves_is_no_run_and_goes_after_a_day(done, accuracies):
    left, new, mine = (
        done / name for name in (f"{files.TEMPORARY}d", f"{files.TEMPORARY}e", f"abc.{'d' * 32}.tmp")
    )
    folder = done.parent / "checkpoints" / f"{files.TEMPORARY}f"
    folder.mkdir()
    for path in (left, new, mine, folder / "dense.safetensors"):
        path.write_text('{"schema": 1')
    for path in (left, mine, folder):
        os.utime(path, (0, 0))
    assert len(accuracies()) == 6 and serial().done == 6
    assert not left.exists() and not folder.exists() and new.exists() and mine.exists()


def test_what_writers_leave_is_what_is_removed_later(trial, monkeypatch):
    def killed(*_):
        raise SystemExit  # nothing is cleaned up

    monkeypatch.setattr(files.os, "replace", killed)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    with pytest.raises(SystemExit):
        files.replace(trial / "a.json", "{}")
    monkeypatch.undo()
    (left,) = trial.iterdir()
    os.utime(left, (0, 0))
    files.remove_stale(trial)
    assert not left.exists()


def endless(studies, begun):
    """A sweep of a process group of its own whose runs do not end."""

    def slow(*_):
        Path(f"{begun}{os.getpid()}").touch()
        time.sleep(600)

    os.setsid()
    study.FOLDER, sweep._checkpoint = studies, slow
    sweep.sweep("trial", engine="joblib", jobs=2)


def test_joblib_workers_end_soon_after_their_sweep_was_killed(trial, tmp_path, children):
    """When two workers have begun, the parent is killed, and no process of its group is left."""
    child = children.Process(target=endless, args=(study.FOLDER, tmp_path / "begun"))
    child.start()
    while len(list(tmp_path.glob("begun*"))) < 2:
        assert child.is_alive()
        time.sleep(0.05)
    child.kill()
    child.join()
    deadline = time.monotonic() + 30
    while alive(child.pid):
        assert time.monotonic() < deadline, alive(child.pid)
        time.sleep(0.1)


def alive(group: int) -> list[int]:
    """Processes of a group that still run, from /proc; zombies do not."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, of = path.read_text().rpartition(")")[2].split()[:3]
            found += [int(path.parent.name)] if int(of) == group and state != "Z" else []
    return found
