"""Engines of a sweep: the same task over many configs, here, in processes or on a cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from functools import cache

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor

from survey_lib.experiment.runs.config import RunConfig

Outcome = tuple[str, str | None]  # key and status; None when the worker process died
Task = Callable[[RunConfig], Outcome]
CONNECT_SECONDS = 10


def serial(task: Task, configs: list[RunConfig], jobs: int, scheduler: str | None) -> Iterator[Outcome]:
    """One after the other in this process."""
    yield from map(task, configs)


def processes(task: Task, configs: list[RunConfig], jobs: int, scheduler: str | None) -> Iterator[Outcome]:
    """In `jobs` worker processes; a worker's death costs one run and never the others (case B63)."""
    left = {config.key(): config for config in configs}
    try:
        for outcome in _parallel(task, configs, jobs):
            del left[outcome[0]]
            yield outcome
    except BrokenProcessPool:  # tasks start in order, so the one that died is among the first unfinished
        for key in list(left)[:jobs]:
            yield _alone(task, left.pop(key))
        yield from processes(task, list(left.values()), jobs, scheduler)
    except BaseException:
        get_reusable_executor().shutdown(kill_workers=True)
        raise


def _parallel(task: Task, configs: list[RunConfig], jobs: int) -> Iterator[Outcome]:
    with parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1):
        pool = Parallel(batch_size=1, return_as="generator_unordered")
        yield from pool(delayed(_work)(task, config) for config in configs)


def _work(task: Task, config: RunConfig) -> Outcome:
    if multiprocessing.parent_process() is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent ends them
        _end_with(multiprocessing.parent_process().pid)
    return task(config)


@cache
def _end_with(parent: int) -> None:
    """Watch the parent from now on, once in a process: a worker whose sweep was killed ends within a second."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _alone(task: Task, config: RunConfig) -> Outcome:
    try:
        return next(_parallel(task, [config], 2))  # joblib runs a single job in this process
    except BrokenProcessPool:
        return config.key(), None


def dask(task: Task, configs: list[RunConfig], jobs: int, scheduler: str | None) -> Iterator[Outcome]:
    """On the workers of a dask scheduler, which must share the runs folder; a local cluster without one.

    Raises ConnectionError when the scheduler cannot be reached, or is lost on the way.
    """
    try:
        from distributed import Client, LocalCluster, as_completed
        from distributed.comm import CommClosedError
    except ImportError as error:
        raise ImportError("engine dask needs the extra: pip install 'survey_lib[dask]'") from error
    local = {"n_workers": jobs, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    try:
        connected = Client(scheduler or LocalCluster(**local), timeout=CONNECT_SECONDS)
    except OSError as error:
        raise ConnectionError(f"no dask scheduler answers at {scheduler}") from error
    with connected as client:
        futures = {
            client.submit(task, config, key=f"run-{config.key()}", retries=0): config for config in configs
        }
        address = client.scheduler.address
        try:
            for future in as_completed(futures):
                if future.status == "cancelled":
                    raise CommClosedError("all futures were cancelled")
                if isinstance(future.exception(), OSError):
                    raise future.exception()
                yield (futures[future].key(), None) if future.status == "error" else future.result()
        except CommClosedError as error:  # the loss shows in whatever call comes next
            raise ConnectionError(f"the dask scheduler at {address} is gone") from error


ENGINES = {"serial": serial, "joblib": processes, "dask": dask}
