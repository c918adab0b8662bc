"""Sweeps at scale: time to read and resume many stored runs, what an engine adds to a run, two workers beside one.

    python benchmarks/scale.py [stored] [overhead] [workers]

All files go to a temporary folder. `stored` needs 100 MB of disk; reading is timed in fresh processes, imports
aside. `overhead` gives the engines runs that only write a record of usual size. `workers` counts runs a second
once every worker has done one.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import yaml

from survey_lib.experiment.runs.config import RunConfig
from survey_lib.experiment.runs.run import run
from survey_lib.experiment.sweeps import store, study, sweep
from survey_lib.experiment.sweeps.engines import ENGINES
from survey_lib.measure import machine

COUNTS = (1_000, 10_000)
NAME = "scale"
FIELDS = {
    "data": "digits",
    "model": "lenet-300-100",
    "method": "magnitude",
    "sparsity": 0.5,
    "epochs": 15,
    "recovery_epochs": 6,
    "lr": 0.05,
    "batch_size": 32,
    "profile": "quick",
}
EMPTY_RUNS, LONG_RUNS, LONG = 300, 16, {"epochs": 2, "recovery_epochs": 80}
STEPS = {
    "results": "store.results('scale')",
    "resume": "sweep.sweep('scale', engine='serial', progress=False)",
    "status": "sweep.status('scale', 'quick')",
}
TIMED = """
import sys, time
from pathlib import Path
from survey_lib.experiment.sweeps import store, study, sweep
study.FOLDER = Path(sys.argv[1])
wall, processor = time.perf_counter(), time.process_time()
done = {call}
print(time.perf_counter() - wall, time.process_time() - processor)
"""


def write_study(folder: Path, count: int) -> None:
    """A study of `count` seeds, and a finished record of usual size for each of its runs."""
    folder.mkdir(exist_ok=True)
    several = {"seed": list(range(count // 100)), "sparsity": [i / 100 for i in range(100)]}
    grids = [{name: value for name, value in FIELDS.items() if name != "profile"} | several]
    text = yaml.safe_dump({"name": NAME, "question": "?", "profiles": {"quick": {"grids": grids}}})
    (folder / f"{NAME}.yaml").write_text(text)
    template, runs = usual_record(), store.runs_folder() / NAME
    runs.mkdir(parents=True, exist_ok=True)
    before = json.dumps(template["config"], sort_keys=True)
    line = json.dumps(template, sort_keys=True) + "\n"
    for seed, sparsity in itertools.product(*several.values()):
        config = RunConfig(**FIELDS | {"seed": seed, "sparsity": sparsity})
        after = json.dumps(config.model_dump(), sort_keys=True)
        text = line.replace(before, after).replace(template["key"], config.key())
        (runs / f"{config.key()}.json").write_text(text)


def usual_record() -> dict:
    """The record of a run: about 8 kB."""
    return run(RunConfig(**FIELDS))


def timed(call: str, folder: Path) -> tuple[float, float]:
    """Seconds of wall and of processor time of a call in a fresh process."""
    code = TIMED.format(call=call)
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    wall, processor = done.stdout.split()[-2:]
    return float(wall), float(processor)


def stored(root: Path) -> pd.DataFrame:
    """Seconds to read all results, to resume a finished sweep, and to ask its status."""
    rows = []
    for count in COUNTS:
        os.environ["SURVEY_RUNS"] = str(root / str(count))
        write_study(root / f"studies-{count}", count)
        for name, call in STEPS.items():
            wall, processor = timed(call, root / f"studies-{count}")
            rows.append(
                {
                    "call": name,
                    "runs": count,
                    "wall s": wall,
                    "processor s": processor,
                    "processor us a run": 1e6 * processor / count,
                }
            )
    return pd.DataFrame(rows).sort_values(["call", "runs"])


def write_only(record: dict, chain: list[RunConfig]) -> list[tuple[str, str]]:
    """A run that costs nothing but its file."""
    (config,) = chain
    store.write(NAME, record | {"key": config.key(), "config": config.model_dump()})
    return [(config.key(), "done")]


def arrivals(task, configs: list[RunConfig], engine: str, jobs: int) -> Iterator[float]:
    """Seconds from the start at which each run was done."""
    start = time.perf_counter()
    for _ in ENGINES[engine](task, [[config] for config in configs], jobs, None):
        yield time.perf_counter() - start


def overhead(root: Path) -> pd.DataFrame:
    """What each engine adds to a run, in ms of wall time, and the seconds until its first run is done."""
    os.environ["SURVEY_RUNS"] = str(root / "empty")
    record, rows = usual_record(), []
    configs = [RunConfig(**FIELDS, seed=seed) for seed in range(EMPTY_RUNS)]
    for engine, jobs in (("serial", 1), ("joblib", 2), ("dask", 2)):
        done = list(arrivals(partial(write_only, record), configs, engine, jobs))
        rate = (done[-1] - done[jobs - 1]) / (len(done) - jobs)
        rows.append({"engine": engine, "workers": jobs, "ms a run": 1e3 * rate, "first run after s": done[0]})
    return pd.DataFrame(rows)


def workers(root: Path) -> pd.DataFrame:
    """Runs of about two seconds by one worker and by two, in turns; the rate counts once each has done one."""
    os.environ["SURVEY_RUNS"] = str(root / "long")
    rates: dict[tuple[str, int], list[float]] = {}
    list(ENGINES["serial"](sweep._checkpoint, [[RunConfig(**FIELDS | LONG)]], 1, None))
    for turn in range(2):
        for engine, jobs in (("joblib", 1), ("joblib", 2), ("dask", 1), ("dask", 2)):
            changes = [
                FIELDS | LONG | {"evidence": 250 + turn, "sparsity": 0.5 + i / 100} for i in range(LONG_RUNS)
            ]
            task = partial(sweep.attempt, f"{engine}-{jobs}")
            done = list(arrivals(task, [RunConfig(**fields) for fields in changes], engine, jobs))
            rates.setdefault((engine, jobs), []).append((len(done) - jobs) / (done[-1] - done[jobs - 1]))
    rows = []
    for engine in ("joblib", "dask"):
        one, two = (pd.Series(rates[engine, jobs]).median() for jobs in (1, 2))
        rows.append({"engine": engine, "s a run, one worker": 1 / one, "two workers over one": two / one})
    return pd.DataFrame(rows)


PARTS = {part.__name__: part for part in (stored, overhead, workers)}


def main(names: list[str]) -> None:
    unknown = sorted(set(names) - set(PARTS))
    if unknown:
        raise SystemExit(f"unknown part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    print(
        f"{machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, study files in {study.FOLDER}"
    )
    for name in names or PARTS:
        print(f"\n{name}: {PARTS[name].__doc__}")
        with tempfile.TemporaryDirectory() as root:
            print(PARTS[name](Path(root)).to_string(index=False, float_format="{:.3g}".format))


if __name__ == "__main__":
    main(sys.argv[1:])
