"""Many runs: what a study asks for, what is missing, and an engine that computes it."""

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import pandas as pd
from tqdm import tqdm

from survey_lib.experiment import files
from survey_lib.experiment.data.loaders import shared
from survey_lib.experiment.networks import models
from survey_lib.experiment.runs.checkpoint import data_of, dense
from survey_lib.experiment.runs.config import STORIES, RunConfig
from survey_lib.experiment.runs.record import failed
from survey_lib.experiment.runs.run import Refused, run_chain
from survey_lib.experiment.runs.train import one_thread
from survey_lib.experiment.sweeps import store
from survey_lib.experiment.sweeps import study as studies
from survey_lib.experiment.sweeps.engines import ENGINES, Chain
from survey_lib.lookup import known

FINAL = ("done", "refused")  # what a sweep does not try again
DIED = "the worker process died (killed, or out of memory)"


@dataclass(frozen=True)
class Summary:
    """What a sweep did: runs asked for, done, failed and refused (with reasons), left; why it stopped early, if so."""

    study: str
    profile: str
    asked: int
    done: int
    failed: dict[str, dict]  # records by key
    refused: dict[str, dict]
    interrupted: str = ""  # the reason

    @property
    def left(self) -> int:
        """Runs that have no result yet; failed and refused ones are counted apart."""
        return self.asked - self.done - len(self.failed) - len(self.refused)

    def __str__(self) -> str:
        lines = [
            f"{self.study} ({self.profile}): {self.done} of {self.asked} runs done, "
            f"{len(self.failed)} failed, {len(self.refused)} refused, {self.left} left"
        ]
        runs: dict[str, list[str]] = {}  # one line for all that ended for the same reason, with the first
        for record in (*self.failed.values(), *self.refused.values()):
            reason = f"{record['status']}: {record['reason']}"
            runs.setdefault(reason, []).append(store.title(record["config"]))
        lines += [f"  {reason} ({names[0]}; {len(names)} in all)" for reason, names in runs.items()]
        lines += [f"  stopped: {self.interrupted}"] if self.interrupted else []
        lines += ["  the same command goes on from here"] if self.left or self.failed else []
        return "\n".join(lines)


def sweep(
    study: str,
    profile: str = "quick",
    engine: str = "joblib",
    jobs: int = 2,
    shard: str | None = None,
    scheduler: str | None = None,
) -> Summary:
    """Compute the runs of a study that have no result yet, and those that failed before.

    Runs of one chain (`RunConfig.chain_key`) are computed together, each round once. Each finished run is a
    file at once, so interrupting, or a worker's death, loses only what was running.

    Parameters
    ----------
    study : str
        Name of the study.
    profile : str, default 'quick'
        Quick or full.
    engine : str, default 'joblib'
        Serial (in this process), joblib (`jobs` processes) or dask (a scheduler's address, or a local
        cluster of `jobs`), with one torch thread a worker; all have the same results.
    jobs : int, default 2
        Number of processes.
    shard : str, optional
        "i/n": only the i-th of n parts, for job arrays.
    scheduler : str, optional
        Address of the dask scheduler.

    Raises
    ------
    ValueError
        Before any work, for an unknown study, profile, engine or shard.
    """
    known("engine", engine, ENGINES)
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    for folder in (store.study_folder(study), store.runs_folder() / "checkpoints"):
        files.remove_stale(folder)
    wanted = part(chains(studies.configs(study, profile)), shard)
    asked = {config.key(): config for chain in wanted for config in chain}
    have = store.local_records(study)
    missing = {key: c for key, c in asked.items() if have.get(key, {}).get("status") not in FINAL}
    _check_networks(missing.values())
    compute = partial(ENGINES[engine], jobs=jobs, scheduler=scheduler)
    # One run for each dense network, so that they are trained side by side and only once
    networks = {config.dense_key(): [config] for config in missing.values() if config.data != STORIES}
    interrupted, done = "", len(asked) - len(missing)
    with tqdm(total=len(asked), initial=done, desc=study, unit="run", disable=None) as bar:
        try:
            list(compute(_checkpoint, list(networks.values())))
            for chain, died in compute(partial(attempt, study), chains(missing.values())):
                for config in chain:
                    if died and not (store.study_folder(study) / f"{config.key()}.json").exists():
                        store.write(study, failed(config, DIED))
                bar.update(len(chain))
        except KeyboardInterrupt:
            interrupted = "interrupted"
        except OSError as error:  # a full disk, a lost scheduler: what is finished is safe
            interrupted = str(error)
    return _summary(study, profile, asked, interrupted)


def _check_networks(configs: Iterable[RunConfig]) -> None:
    """Raise ValueError for a model that does not read the data of its runs. Data that only workers have is left to them."""
    for name, model in sorted({(config.data, config.model) for config in configs if config.data != STORIES}):
        try:
            data = shared(name)
        except FileNotFoundError:
            continue
        network = models.build(model, len(data.classes), data.in_shape)
        models.check_fit(network, data.train[0][:1], len(data.classes), f"{model} on {name}")


def chains(configs: Iterable[RunConfig]) -> list[Chain]:
    """The runs in groups that share their rounds; a run that shares none is a group by itself."""
    found: dict[str, Chain] = {}
    for config in configs:
        found.setdefault(config.chain_key(), []).append(config)
    return list(found.values())


def part(runs: list, shard: str | None) -> list:
    """The i-th of n parts for a shard "i/n", i from 1 to n; all of them without one.

    Parameters
    ----------
    runs : list
        All runs.
    shard : str | None
        The part, i/n.

    Examples
    --------
    >>> part([1, 2, 3, 4, 5], "2/2")
    [2, 4]
    """
    if shard is None:
        return runs
    first, _, count = shard.partition("/")
    if not (first.isdigit() and count.isdigit() and 1 <= int(first) <= int(count)):
        raise ValueError(f"shard must look like 3/8, the third of eight parts; got {shard!r}")
    return runs[int(first) - 1 :: int(count)]


def attempt(study: str, chain: Chain) -> None:
    """Do the runs of a chain and write each record when it is done.

    A run that raises has a record of status failed or refused, with the reason. A chain that breaks off is
    done again run by run, so that each run has its own end.

    Parameters
    ----------
    study : str
        Name of the study.
    chain : Chain
        Runs of the chain.
    """
    written = []

    def write(record: dict) -> None:
        store.write(study, record)
        written.append(record["key"])

    try:
        run_chain(chain, write)
    except Exception as error:
        if len(chain) > 1:
            for config in chain:
                if config.key() not in written:
                    attempt(study, [config])
            return
        refused = isinstance(error, Refused)
        reason = str(error) if refused else f"{type(error).__name__}: {error}"
        write(failed(chain[0], reason, "refused" if refused else "failed"))


def _checkpoint(chain: Chain) -> None:
    """Train the dense network of a run; where that fails, the runs that need it say so."""
    with suppress(Exception), one_thread():
        dense(chain[0], data_of(chain[0]), store.runs_folder() / "checkpoints")


def _summary(study: str, profile: str, asked: Collection[str], interrupted: str = "") -> Summary:
    have = store.local_records(study)
    ends: dict[str, dict[str, dict]] = {"done": {}, "failed": {}, "refused": {}}
    for key in asked:
        if key in have:
            ends[have[key]["status"]][key] = have[key]
    done = len(ends.pop("done"))
    return Summary(study, profile, len(asked), done, **ends, interrupted=interrupted)


def status(study: str) -> pd.DataFrame:
    """One row a profile of a study: what is asked for, published, done on this machine, and left.

    Done, failed and refused are counted apart. `left` is what a sweep would compute, and takes `minutes` with
    one worker if a run costs what the finished ones did on average (missing where none is finished).

    Parameters
    ----------
    study : str
        Name of the study.
    """
    rows, published = [], set(store.published_records(study))
    for name in studies.load(study).profiles:
        asked = [config.key() for config in studies.configs(study, name)]
        now = _summary(study, name, asked)
        runs = store.results(study, profile=name)
        minutes = now.left * runs.loc[runs["status"] == "done", "seconds"].mean() / 60
        counts = (now.done, len(now.failed), len(now.refused), now.left)
        rows.append((study, name, now.asked, len(published.intersection(asked)), *counts, round(minutes, 1)))
    columns = ["study", "profile", "asked", "published", "done", "failed", "refused", "left", "minutes"]
    return pd.DataFrame(rows, columns=columns)
