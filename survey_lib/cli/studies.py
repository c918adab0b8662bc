"""Commands about studies: sweep, slurm, status, results, publish, verify, reproduce."""

from __future__ import annotations

import signal
from pathlib import Path

import click

PROFILE = click.option(
    "--profile", default="quick", show_default=True, help="quick (minutes) or full (as published)."
)


@click.command()
@click.argument("study")
@PROFILE
@click.option("--engine", default="joblib", show_default=True, help="serial, joblib or dask.")
@click.option("--jobs", default=2, show_default=True, help="Parallel workers, one torch thread each.")
@click.option("--shard", help="i/n: only the i-th of n parts, for job arrays.")
@click.option("--scheduler", help="Address of a dask scheduler, tls://host:port; implies --engine dask.")
def sweep(study: str, profile: str, engine: str, jobs: int, shard: str | None, scheduler: str | None) -> None:
    """Compute the runs of STUDY that are missing; interrupt it and call it again at will.

    \b
    survey sweep comparison --profile quick --jobs 2
    survey sweep comparison --profile full --shard 3/8            one job of a job array
    survey sweep comparison --scheduler tls://node1:8786          on a dask cluster
    """
    from survey_lib.experiment.sweeps.sweep import sweep as run_sweep

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` and time limits end it as Ctrl-C does
    engine = "dask" if scheduler else engine
    done = run_sweep(study, profile, engine=engine, jobs=jobs, shard=shard, scheduler=scheduler)
    click.echo(done)
    if done.failed or done.interrupted:
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("study")
@click.option("--scheduler", required=True, help="Address that the workers join, tls://host:port.")
@click.option("--cores", default=4, show_default=True, help="Workers a job, one torch thread each.")
@click.option("--memory", default="8GB", show_default=True, help="Memory a job.")
@click.option("--walltime", default="01:00:00", show_default=True, help="After which SLURM ends the job.")
@click.option("--partition", help="SLURM's queue.")
def slurm(**wishes: object) -> None:
    """Print the SLURM job script (by dask-jobqueue) of workers for `survey sweep STUDY --scheduler ADDRESS`.

    \b
    survey slurm comparison --scheduler tls://login1:8786 > worker.sh && sbatch --array=1-4 worker.sh
    survey sweep comparison --profile full --scheduler tls://login1:8786

    docs/scale.md says how to start the scheduler, and how to close it to others.
    """
    from survey_lib.experiment.sweeps.cluster import slurm_script

    click.echo(slurm_script(**wishes))


@click.command()
@click.argument("study", required=False)
def status(study: str | None) -> None:
    """How many runs of STUDY (or of every study) are asked for, done, failed and left, for each profile."""
    import pandas as pd

    from survey_lib.experiment.sweeps.study import names
    from survey_lib.experiment.sweeps.sweep import status as count

    tables = [count(name) for name in ([study] if study else names())]
    click.echo(pd.concat(tables).round(1).to_string(index=False))


@click.command()
@click.argument("study")
@click.option("--csv", type=click.Path(path_type=Path), help="Also write every run to this file.")
@click.option("--metric", default="accuracy", show_default=True, help="A column of the results.")
def results(study: str, csv: Path | None, metric: str) -> None:
    """Mean of a metric for each method and sparsity of STUDY; local runs lie over the published ones."""
    from survey_lib.analysis.tables import accuracy_table, finished
    from survey_lib.experiment.files import new

    if csv:
        new(csv)
    frame = finished(study, local=True)
    if metric not in frame:
        raise click.BadParameter(
            f"no column {metric!r}; there are: {', '.join(frame)}", param_hint="--metric"
        )
    click.echo(accuracy_table(frame, metric).round(4).to_string())
    if csv:
        frame.to_csv(csv, index=False)


@click.command()
@click.argument("study")
@click.option("--profile", default="full", show_default=True, help="The profile whose runs are published.")
@click.option("--prune", is_flag=True, help="Drop published runs that STUDY no longer asks for.")
def publish(study: str, profile: str, prune: bool) -> None:
    """Write the local runs of STUDY to data/results, sorted: the file that is committed.

    Published runs that have no successor are named, and nothing is written, unless --prune drops them.
    """
    from survey_lib.experiment.sweeps import store

    click.echo(f"wrote {store.publish(study, profile=profile, prune=prune)}")


@click.command()
@click.argument("study", required=False)
@click.option("--sample", default=5, show_default=True, help="How many published runs to compute again.")
@click.option("--seed", default=0, show_default=True, help="Which ones are drawn.")
def verify(study: str | None, sample: int, seed: int) -> None:
    """Compute published runs of STUDY (or of all) again and compare every number; fails if one moved too far.

    Checks also, for each published file, that its runs are those the study asks for, whole and once each.
    """
    from survey_lib.experiment.sweeps.verify import verify as again

    table = again(study, sample, seed, click.echo)
    wrong = table[~table["agrees"]]
    if len(wrong):
        click.echo(wrong.to_string(index=False))
        raise click.ClickException(f"{len(wrong)} of {len(table)} values and checks do not agree")
    runs = table["key"].replace("", None).nunique()
    click.echo(f"all {len(table)} values of {runs} runs came out as published, within what is said above")


@click.command()
@PROFILE
@click.option("--jobs", default=2, show_default=True, help="Parallel workers.")
@click.option(
    "--out",
    default="build",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for all that is made.",
)
def reproduce(profile: str, jobs: int, out: Path) -> None:
    """Run the course again: the comparison study, every notebook, every figure; then print the table.

    Call it again after an interruption: finished runs and notebooks are kept.
    """
    from survey_lib.cli.reproduce import reproduce as run_all

    if not run_all(profile, jobs, out, click.echo):
        raise click.ClickException("not everything came out; names and reasons are above")


COMMANDS = (sweep, slurm, status, results, publish, verify, reproduce)
