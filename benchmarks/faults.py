"""Kill sweeps, workers and schedulers at random moments, and count what is lost or counted twice (nothing should be).

    python benchmarks/faults.py [KILLS]

A study of short runs on digits, in a temporary folder. Six kills of ten hit the whole sweep (SIGKILL), two a joblib worker,
one a dask worker, one interrupts a sweep (SIGINT). After each kill every file must be whole, and no finished file may be
gone or written again. At the end the study is completed and compared with the same study computed undisturbed.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
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
KINDS = ("sweep", "sweep", "joblib worker", "sweep", "sweep", "dask worker", "sweep", "interrupt", "sweep", "joblib worker")
FORK = multiprocessing.get_context("fork")


def run_sweep(engine: str) -> None:
    os.setsid()  # a group of its own, so that a kill takes its workers along
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    sweep.sweep(NAME, engine=engine, progress=False)


def children(parent: int) -> list[int]:
    """Worker processes under a process, from /proc."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, rest = path.parent.name, path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(rest[1]) == parent:
            command = (path.parent / "cmdline").read_text().replace("\0", " ")
            found += [int(number)] if "tracker" not in command else []
            found += children(int(number))
    return found


def strike(kind: str, moments: random.Random) -> str:
    """Start a sweep, kill something of it at a random moment; what was hit, or 'finished' if nothing was left."""
    child = FORK.Process(target=run_sweep, args=(kind.split()[0] if " " in kind else "serial",))
    child.start()
    before = len(finished())
    if " " in kind:  # worker processes take seconds to start: wait for a result of theirs
        while child.is_alive() and len(finished()) == before:
            time.sleep(0.05)
    time.sleep(moments.uniform(0, 1.5))
    victims = children(child.pid) if " " in kind else [child.pid]
    alive = child.is_alive() and victims
    try:
        if alive:
            os.kill(moments.choice(victims), signal.SIGINT if kind == "interrupt" else signal.SIGKILL)
    except ProcessLookupError:  # it ended between the look and the blow
        alive = False
    if kind == "sweep" or " " in kind:
        child.join(0 if kind == "sweep" else 2)
        end_group(child.pid)
    child.join()
    return kind if alive else "finished before the kill"


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
    moments, hit, before, lost, again = random.Random(0), Counter(), {}, 0, 0
    rounds = 1
    while sum(hit[kind] for kind in set(KINDS)) < kills:
        hit[strike(KINDS[sum(hit.values()) % len(KINDS)], moments)] += 1
        now = finished()
        lost += len(before.keys() - now.keys())
        again += sum(now[key] != before[key] for key in before.keys() & now.keys())
        before = now
        if len(now) == len(study.by_key(NAME, "quick")):  # all done: begin again with half of it
            rounds += 1
            for key in sorted(now)[::2]:
                (store.runs_folder() / NAME / f"{key}.json").unlink()
            before = finished()
    return {"kills": dict(hit), "lost": lost, "written again": again, "rounds": rounds}


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
        told |= {"runs": done.asked, "done": done.done, "failed": len(done.failed), "equal to undisturbed": accuracies() == killed}
    print(json.dumps(told, indent=1))
    if told["lost"] or told["written again"] or done.left or done.failed or not told["equal to undisturbed"]:
        raise SystemExit("something was lost or counted twice")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
