"""A real dask scheduler and two real worker processes on loopback: equal results, deaths, a scheduler that goes."""

import contextlib
import importlib
import json
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from survey_lib.experiment.sweeps import engines, store, study, sweep

pytest.importorskip("distributed")

YAML = """
name: trial
question: Does it run?
profiles:
  quick:
    common: {data: digits, model: lenet-300-100, epochs: 2, recovery_epochs: 4, batch_size: 128, seed: [0, 1, 2]}
    grids:
      - {method: [random, magnitude], sparsity: 0.5}
  long:
    common: {data: digits, model: lenet-300-100, epochs: 2, recovery_epochs: 10000, batch_size: 128}
    grids:
      - {method: dense, recovery: none}
      - {method: [random, magnitude], sparsity: 0.5}
"""


def command(role: str, arguments: list[str], runs: str, log: Path) -> None:
    """`dask scheduler` or `dask worker`, in a process of its own."""
    os.environ["SURVEY_RUNS"] = runs
    sys.argv = [role]
    os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), 2)
    importlib.import_module(f"distributed.cli.dask_{role}").main(arguments)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, children):
    """Address of a scheduler and its processes: [scheduler, worker, worker]."""
    root = tmp_path_factory.mktemp("cluster")
    (root / "studies").mkdir()
    (root / "studies" / "trial.yaml").write_text(YAML)
    about = [
        "--scheduler-file",
        str(root / "scheduler.json"),
        "--host",
        "127.0.0.1",
        "--dashboard-address",
        "127.0.0.1:0",
    ]
    roles = [["scheduler", "--port", "0"], *[["worker", "--nthreads", "1", "--no-nanny"]] * 2]
    processes = [
        children.Process(target=command, args=(role, [*options, *about], str(root / "runs"), root / "log"))
        for role, *options in roles
    ]
    for process in processes:
        process.start()
    wait(lambda: (root / "scheduler.json").exists() and (root / "scheduler.json").read_text().endswith("}"))
    yield json.loads((root / "scheduler.json").read_text())["address"], processes, root
    for process in processes:
        process.kill()
        process.join()


@pytest.fixture
def trial(cluster, monkeypatch):
    address, processes, root = cluster
    monkeypatch.setattr(study, "FOLDER", root / "studies")
    study.keys.cache_clear()
    yield lambda folder: monkeypatch.setenv("SURVEY_RUNS", str(root / folder))
    study.keys.cache_clear()


def wait(ready, seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def accuracies() -> dict:
    frame = store.results("trial")
    return dict(zip(frame["key"], frame["accuracy"], strict=True))


@pytest.fixture
def serial(trial) -> dict:
    """Accuracies of the quick runs, computed one after the other in this process."""
    trial("serial")
    assert sweep.sweep("trial", engine="serial").done == 6
    return accuracies()


def test_a_killed_worker_loses_nothing_and_both_engines_agree(cluster, trial, serial):
    """One of two workers dies after the first result; its run is done by the other."""
    address, (_, worker, _), root = cluster
    trial("runs")

    def kill() -> None:
        wait(lambda: any((root / "runs" / "trial").glob("*.json")))
        worker.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    done = sweep.sweep("trial", engine="dask", scheduler=address)
    killer.join()
    worker.join()
    assert (done.done, done.failed, done.interrupted, worker.exitcode) == (6, {}, "", -9)
    assert accuracies() == serial


def test_a_scheduler_that_dies_ends_the_sweep_with_a_summary(cluster, trial, monkeypatch):
    """After the first of three runs; the other two would take minutes."""
    address, (scheduler, *_), root = cluster
    trial("runs")
    monkeypatch.setattr(engines, "CONNECT_SECONDS", 2)
    first = root / "runs" / "trial" / f"{study.configs('trial', 'long')[0].key()}.json"

    def kill() -> None:
        wait(first.exists)
        scheduler.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    done = sweep.sweep("trial", "long", engine="dask", scheduler=address)
    killer.join()
    assert (done.done, done.left) == (1, 2) and f"stopped: the dask scheduler at {address} is gone" in str(
        done
    )


def listening() -> set[str]:
    """Addresses on which this process and its children listen."""
    psutil, found = pytest.importorskip("psutil"), set()
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            found |= {one.laddr.ip for one in process.net_connections() if one.status == psutil.CONN_LISTEN}
    return found


def test_a_local_cluster_listens_on_loopback_alone_and_computes_the_same(trial, serial):
    trial("loopback")
    work = threading.Thread(target=sweep.sweep, args=("trial",), kwargs={"engine": "dask", "jobs": 1})
    work.start()
    found = set()
    while work.is_alive():
        found |= listening()
        time.sleep(0.1)
    assert found == {"127.0.0.1"} and accuracies() == serial


def test_no_scheduler_at_the_address_is_said(trial, monkeypatch):
    trial("runs")
    monkeypatch.setattr(engines, "CONNECT_SECONDS", 1)
    done = sweep.sweep("trial", "long", engine="dask", scheduler="tcp://127.0.0.1:1")
    assert "stopped: Timed out trying to connect to tcp://127.0.0.1:1" in str(done)
