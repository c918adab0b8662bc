"""Engines of a sweep: the same task over many configs, here, in processes or on a cluster."""

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
Job = list[RunConfig]  # the runs of one chain, mostly a single one
Task = Callable[[Job], list[Outcome]]
CONNECT_SECONDS = 10


def serial(task: Task, chains: list[Job], jobs: int, scheduler: str | None) -> Iterator[Outcome]:
    """One after the other in this process.

    Parameters
    ----------
    task : Task
        What a worker does with a chain.
    chains : list[Job]
        Chains of runs.
    jobs : int
        Not used.
    scheduler : str | None
        Not used.
    """
    for chain in chains:
        yield from task(chain)


def processes(task: Task, chains: list[Job], jobs: int, scheduler: str | None) -> Iterator[Outcome]:
    """In `jobs` worker processes; a worker's death costs one chain of runs and never the others (case B63).

    Parameters
    ----------
    task : Task
        What a worker does with a chain.
    chains : list[Job]
        Chains of runs.
    jobs : int
        Worker processes.
    scheduler : str | None
        Not used.
    """
    left = dict(enumerate(chains))
    try:
        for number, outcomes in _parallel(task, chains, jobs):
            del left[number]
            yield from outcomes
    except BrokenProcessPool:  # tasks start in order, so the one that died is among the first unfinished
        for number in list(left)[:jobs]:
            yield from _alone(task, left.pop(number))
        yield from processes(task, list(left.values()), jobs, scheduler)
    except BaseException:
        get_reusable_executor().shutdown(kill_workers=True)
        raise


def _parallel(task: Task, chains: list[Job], jobs: int) -> Iterator[tuple[int, list[Outcome]]]:
    with parallel_config("loky", n_jobs=jobs, inner_max_num_threads=1):
        pool = Parallel(batch_size=1, return_as="generator_unordered")
        yield from pool(delayed(_work)(task, number, chain) for number, chain in enumerate(chains))


def _work(task: Task, number: int, chain: Job) -> tuple[int, list[Outcome]]:
    if multiprocessing.parent_process() is not None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent ends them
        _end_with(multiprocessing.parent_process().pid)
    return number, task(chain)


@cache
def _end_with(parent: int) -> None:
    """Watch the parent from now on, once in a process: a worker whose sweep was killed ends within a second."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _alone(task: Task, chain: Job) -> list[Outcome]:
    try:
        return next(_parallel(task, [chain], 2))[1]  # joblib runs a single job in this process
    except BrokenProcessPool:
        return _died(chain)


def _died(chain: Job) -> list[Outcome]:
    return [(config.key(), None) for config in chain]


def dask(task: Task, chains: list[Job], jobs: int, scheduler: str | None) -> Iterator[Outcome]:
    """On the workers of a dask scheduler, which must share the runs folder; a local cluster without one.

    Parameters
    ----------
    task : Task
        What a worker does with a chain.
    chains : list[Job]
        Chains of runs.
    jobs : int
        Workers of the local cluster.
    scheduler : str | None
        Address; a local cluster without one.

    Raises
    ------
    ModuleNotFoundError
        Without the extra `dask`.
    ConnectionError
        When the scheduler cannot be reached, or is lost on the way.
    """
    import dask.config

    dask.config.set({"logging.distributed": "error"})  # read when distributed is first imported
    from distributed import Client, LocalCluster, as_completed
    from distributed.comm import CommClosedError

    local = {"n_workers": jobs, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    try:
        connected = Client(scheduler or LocalCluster(**local), timeout=CONNECT_SECONDS)
    except OSError as error:
        raise ConnectionError(f"no dask scheduler answers at {scheduler}") from error
    with connected as client:
        futures = {
            client.submit(task, chain, key=f"run-{chain[0].key()}", retries=0): chain for chain in chains
        }
        address = client.scheduler.address
        try:
            for future in as_completed(futures):
                if future.status == "cancelled":
                    raise CommClosedError("all futures were cancelled")
                if isinstance(future.exception(), OSError):
                    raise future.exception()
                yield from _died(futures[future]) if future.status == "error" else future.result()
        except CommClosedError as error:  # the loss shows in whatever call comes next
            raise ConnectionError(f"the dask scheduler at {address} is gone") from error


ENGINES = {"serial": serial, "joblib": processes, "dask": dask}
