"""Kill sweeps, workers and schedulers at random moments, and count what is lost or counted twice (nothing should be).

    python benchmarks/faults.py [KILLS]

A study of short runs on digits, in a temporary folder. Three kills of ten hit the whole sweep (SIGKILL), two a joblib
worker, two a worker of a local dask cluster, one a worker and one the scheduler of a cluster started apart; one interrupts
a sweep (SIGINT). After each kill every file must be whole, no finished file may be gone or written again, and a sweep that
was not itself killed must end with a summary. At the end the study is completed and compared with the same study computed
undisturbed.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from survey_lib.experiment.runs import record_json
from survey_lib.experiment.sweeps import store, study, sweep

NAME = "faults"
YAML = """
name: faults
question: Is anything lost?
profiles:
  quick:
    common: {data: digits, model: lenet-300-100, epochs: 2, recovery_epochs: 20, batch_size: 64, seed: [0, 1, 2, 3]}
    grids:
      - {method: [random, magnitude], sparsity: [0.5, 0.6, 0.7, 0.8, 0.9]}
      - {method: dense, recovery: none}
"""
KINDS = (
    "sweep",
    "joblib worker",
    "dask worker",
    "interrupt",
    "cluster scheduler",
    "sweep",
    "cluster worker",
    "joblib worker",
    "dask worker",
    "sweep",
)
ENGINES = {"joblib": "joblib", "dask": "dask", "cluster": "dask"}
FORK = multiprocessing.get_context("fork")


def run_sweep(engine: str, scheduler: str | None) -> None:
    os.setsid()  # a group of its own, so that a kill takes its workers along
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    sweep.sweep(NAME, engine=engine, scheduler=scheduler, progress=False)


@contextmanager
def cluster(wanted: bool) -> Iterator[tuple[str | None, dict[str, list[int]]]]:
    """Address and processes of a scheduler and two workers that are no children of the sweep, on loopback."""
    if not wanted:
        yield None, {}
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scheduler.json"
        about = ["--scheduler-file", str(file), "--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]
        roles = [["dask_scheduler", "--port", "0"], *[["dask_worker", "--nthreads", "1", "--no-nanny"]] * 2]
        here = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        started = [
            subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{role}", *options, *about],
                env=here,
                stderr=subprocess.DEVNULL,
            )
            for role, *options in roles
        ]
        try:
            while not (file.exists() and file.read_text().endswith("}")):
                time.sleep(0.05)
            scheduler, *workers = (process.pid for process in started)
            yield json.loads(file.read_text())["address"], {"scheduler": [scheduler], "worker": workers}
        finally:
            for process in started:
                process.kill()
                process.wait()


def children(parent: int) -> list[int]:
    """Worker processes under a process, from /proc; the trackers of multiprocessing and joblib do no work."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, rest = path.parent.name, path.read_text().rpartition(")")[2].split()
            command = (path.parent / "cmdline").read_text()
        except OSError:
            continue
        if int(rest[1]) == parent:
            found += [int(number)] if "resource_tracker" not in command else []
            found += children(int(number))
    return found


def strike(kind: str, moments: random.Random) -> tuple[str, bool]:
    """Start a sweep and kill something of it at a random moment: what was hit, or 'finished' if nothing was left;
    and whether the sweep, where it was not the victim, broke off without a summary."""
    engine, _, victim = kind.partition(" ")
    with cluster(engine == "cluster") as (address, servers):
        child = FORK.Process(target=run_sweep, args=(ENGINES.get(engine, "serial"), address))
        child.start()
        before = len(finished())
        while victim and child.is_alive() and len(finished()) == before:  # workers take seconds to start
            time.sleep(0.05)
        time.sleep(moments.uniform(0, 1.5))
        victims = servers.get(victim) or (children(child.pid) if victim else [child.pid])
        alive = child.is_alive() and victims
        try:
            if alive:
                os.kill(moments.choice(victims), signal.SIGINT if kind == "interrupt" else signal.SIGKILL)
        except ProcessLookupError:  # it ended between the look and the blow
            alive = False
        child.join(0 if kind == "sweep" else 60 if kind in ("interrupt", "cluster scheduler") else 2)
        silent = kind != "sweep" and child.exitcode not in (None, 0)
        end_group(child.pid)
        child.join()
    return kind if alive else "finished before the kill", silent


def end_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        pass


def finished() -> dict[str, int]:
    """Key and time of writing of each done run; raises ValueError for a file that is not whole."""
    found = {}
    for path in (store.runs_folder() / NAME).glob("*.json"):
        if record_json.parse(path.read_text(encoding="utf-8"), path.stem)["status"] == "done":
            found[path.stem] = path.stat().st_mtime_ns
    return found


def accuracies() -> dict[str, float]:
    frame = store.results(NAME, published="nowhere")
    return dict(zip(frame["key"], frame["accuracy"], strict=True))


def campaign(kills: int) -> dict:
    moments, hit, before, lost, again, silent = random.Random(), Counter(), {}, 0, 0, 0
    rounds = 1
    while sum(hit[kind] for kind in set(KINDS)) < kills:
        what, broke = strike(KINDS[sum(hit.values()) % len(KINDS)], moments)
        hit[what] += 1
        silent += broke
        print(f"{sum(hit.values())}: {what}", file=sys.stderr)
        now = finished()
        lost += len(before.keys() - now.keys())
        again += sum(now[key] != before[key] for key in before.keys() & now.keys())
        before = now
        if len(now) == len(study.by_key(NAME, "quick")):  # all done: begin again with half of it
            rounds += 1
            for key in sorted(now)[::2]:
                (store.runs_folder() / NAME / f"{key}.json").unlink()
            before = finished()
    return {
        "kills": dict(hit),
        "lost": lost,
        "written again": again,
        "without a summary": silent,
        "rounds": rounds,
    }


def main(kills: int) -> None:
    with tempfile.TemporaryDirectory() as root:
        study.FOLDER = Path(root)
        (Path(root) / f"{NAME}.yaml").write_text(YAML)
        os.environ["SURVEY_RUNS"] = f"{root}/killed"
        told = campaign(kills)
        done = sweep.sweep(NAME, engine="serial", progress=False)
        killed = accuracies()
        os.environ["SURVEY_RUNS"] = f"{root}/undisturbed"
        sweep.sweep(NAME, engine="serial", progress=False)
        told |= {
            "runs": done.asked,
            "done": done.done,
            "failed": len(done.failed),
            "equal to undisturbed": accuracies() == killed,
        }
    print(json.dumps(told, indent=1))
    if (
        told["lost"]
        or told["written again"]
        or told["without a summary"]
        or done.left
        or done.failed
        or not told["equal to undisturbed"]
    ):
        raise SystemExit("something was lost or counted twice")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
