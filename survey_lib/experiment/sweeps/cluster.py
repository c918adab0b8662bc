"""Job scripts for clusters, by dask-jobqueue; nothing is submitted here."""

import shlex

from survey_lib.experiment.sweeps import study as studies
from survey_lib.experiment.sweeps.store import runs_folder


def slurm_script(
    study: str,
    scheduler: str,
    cores: int = 4,
    memory: str = "8GB",
    walltime: str = "01:00:00",
    partition: str | None = None,
) -> str:
    """The SLURM job script of workers that join a dask scheduler and share the runs folder.

    Parameters
    ----------
    study : str
        Name of the study.
    scheduler : str
        Address of the dask scheduler.
    cores : int, default 4
        Number of workers.
    memory : str, default '8GB'
        Memory of the job.
    walltime : str, default '01:00:00'
        Longest time of the job.
    partition : str, optional
        Partition of the cluster.

    Raises
    ------
    ValueError
        For an unknown study, or memory that is no number of bytes.
    ModuleNotFoundError
        Without dask-jobqueue.

    Examples
    --------
    >>> print(slurm_script("weight", "tcp://login1:8786").splitlines()[2])
    #SBATCH -J survey-weight
    """
    studies.load(study)
    from dask.utils import parse_bytes
    from dask_jobqueue.slurm import SLURMJob

    if parse_bytes(memory) < 10**6:
        raise ValueError(f"memory is that of a job, a number and a unit such as 8GB; got {memory!r}")

    prologue = ["export OMP_NUM_THREADS=1", f"export SURVEY_RUNS={shlex.quote(str(runs_folder().resolve()))}"]
    job = SLURMJob(
        shlex.quote(scheduler),
        "survey-$SLURM_JOB_ID",
        cores=cores,
        processes=cores,
        memory=memory,
        walltime=walltime,
        queue=partition,
        job_name=f"survey-{study}",
        job_script_prologue=prologue,
        worker_extra_args=["--dashboard-address", "127.0.0.1:0"],
    )
    return job.job_script()
