"""Engines of a sweep: the same task over many chains of runs, here, in processes or on a cluster.

Each yields a chain when its task has ended, or when the process that worked on it has died.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress

from joblib.externals.loky import get_reusable_executor

from survey_lib.experiment.runs.config import RunConfig

Chain = list[RunConfig]  # mostly of a single run
Task = Callable[[Chain], None]
Ended = tuple[Chain, bool]  # and whether the process that worked on it died
CONNECT_SECONDS = 10
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def serial(task: Task, chains: list[Chain], jobs: int, scheduler: str | None) -> Iterator[Ended]:
    """One after the other in this process.

    Parameters
    ----------
    task : Task
        What a worker does with a chain.
    chains : list[Chain]
        Chains of runs.
    jobs : int
        Not used.
    scheduler : str | None
        Not used.
    """
    for chain in chains:
        task(chain)
        yield chain, False


def processes(task: Task, chains: list[Chain], jobs: int, scheduler: str | None) -> Iterator[Ended]:
    """In `jobs` worker processes; a worker's death costs one chain of runs and never the others (case B63).

    Parameters
    ----------
    task : Task
        What a worker does with a chain.
    chains : list[Chain]
        Chains of runs.
    jobs : int
        Worker processes.
    scheduler : str | None
        Not used.
    """
    pool = get_reusable_executor(jobs, initializer=_begin, initargs=(os.getpid(),), env=ONE_THREAD)
    left = dict(enumerate(chains))
    try:
        with suppress(BrokenProcessPool):  # where a worker dies before all chains are handed out
            futures = {pool.submit(task, chain): number for number, chain in left.items()}
            for future in as_completed(futures):
                if not isinstance(future.exception(), BrokenProcessPool):
                    future.result()
                    yield left.pop(futures[future]), False
    except BaseException:
        pool.shutdown(kill_workers=True)
        raise
    if left and len(chains) == 1:
        yield chains[0], True
    elif left:  # one death ends all workers; chains start in order, so it was among the first that are left
        first, others = [*left.values()][:jobs], [*left.values()][jobs:]
        for chain in first:
            yield from processes(task, [chain], 1, scheduler)
        yield from processes(task, others, jobs, scheduler)


def _begin(parent: int) -> None:
    """In a new worker: Ctrl-C, which reaches all processes, is left to the parent; if that is killed, end too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def dask(task: Task, chains: list[Chain], jobs: int, scheduler: str | None) -> Iterator[Ended]:
    """On the workers of a dask scheduler, which must share the runs folder; a local cluster without one.

    Parameters
    ----------
    task : Task
        What a worker does with a chain.
    chains : list[Chain]
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
    from distributed import Client, LocalCluster
    from distributed import as_completed as completed
    from distributed.comm import CommClosedError

    here = {"n_workers": jobs, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    try:
        with Client(scheduler or LocalCluster(**here), timeout=CONNECT_SECONDS) as client:
            futures = {client.submit(task, chain, key=f"run-{chain[0].key()}"): chain for chain in chains}
            for future in completed(futures):
                if future.status == "cancelled":
                    raise CommClosedError("all futures were cancelled")
                if isinstance(future.exception(), OSError):
                    raise future.exception()
                yield futures[future], future.status == "error"
    except CommClosedError as error:  # the loss shows in whatever call comes next
        raise ConnectionError(f"the dask scheduler at {scheduler or 'this machine'} is gone") from error


ENGINES = {"serial": serial, "joblib": processes, "dask": dask}
