"""Commands about studies: sweep, status, results, publish, verify, reproduce."""

import signal
from pathlib import Path

import click

from survey_lib.cli import DIRECTORY, main, show


def _named(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """The name of a study, or that of a study file of one's own, given by its path."""
    if not (value or "").endswith((".yaml", ".yml")):
        return value
    from survey_lib.experiment.sweeps.study import use

    return use(value)


@main.command()
@click.argument("study", callback=_named)
@click.option("--profile", default="quick", help="quick (minutes) or full (as published).")
@click.option("--engine", default="joblib", help="serial, joblib or dask.")
@click.option("--jobs", default=2, help="Parallel workers, one torch thread each.")
@click.option("--shard", help="i/n: only the i-th of n parts, for job arrays.")
@click.option("--scheduler", help="Address of a dask scheduler, tls://host:port; implies --engine dask.")
def sweep(**wishes: object) -> None:
    """Compute the runs of STUDY that are missing.

    Interrupt it at will: the same call goes on where it stopped.

    \b
    survey sweep comparison --profile quick --jobs 2
    survey sweep my_study.yaml                              a study of your own; also for status and results
    survey sweep comparison --profile full --shard 3/8      one job of a job array
    survey sweep comparison --scheduler tls://node1:8786    on a dask cluster
    """
    from survey_lib.experiment.sweeps.sweep import sweep as run_sweep

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` and time limits end it as Ctrl-C does
    if wishes["scheduler"]:
        wishes["engine"] = "dask"
    done = run_sweep(**wishes)
    click.echo(done)
    if done.failed or done.interrupted:
        raise click.exceptions.Exit(1)


@main.command()
@click.argument("study", callback=_named, required=False)
def status(study: str | None) -> None:
    """Count the runs of STUDY, or of every study: done and left.

    `published` are in data/results; done, failed, refused and left are counted on this machine.
    `minutes` is what one worker needs for those that are left, if they cost what finished runs did.
    """
    import pandas as pd

    from survey_lib.experiment.sweeps.study import FOLDER, names
    from survey_lib.experiment.sweeps.sweep import status as count
    from survey_lib.repository import needed

    tables = [count(name) for name in ([study] if study else names() or [needed(FOLDER).name])]
    show(pd.concat(tables))


@main.command()
@click.argument("study", callback=_named)
@click.option("--metric", default="accuracy", help="A column of the results.")
def results(study: str, metric: str) -> None:
    """Mean, spread and number of runs of STUDY, for each method.

    The spread is the standard deviation; each method has a row for every sparsity.

    Local runs take the place of published ones of the same settings.
    """
    from survey_lib.analysis.tables import distinct, finished, results_table
    from survey_lib.lookup import known

    frame = distinct(finished(study, local=True))
    numbers = frame.select_dtypes("number").dropna(axis=1, how="all")
    table = results_table(frame, known("column of numbers", metric, numbers))
    show(table.round(4))


@main.command()
@click.argument("study")
@click.option("--profile", default="full", help="The profile whose runs are published.")
@click.option("--prune", is_flag=True, help="Drop published runs that STUDY no longer asks for.")
def publish(study: str, profile: str, prune: bool) -> None:
    """Write the local runs of STUDY to data/results.

    The file is sorted, and is the one that is committed.

    Published runs that have no successor are named, and nothing is written, unless --prune drops them.
    """
    from survey_lib.experiment.sweeps import store
    from survey_lib.experiment.sweeps.study import load

    load(study)
    click.echo(f"wrote {store.publish(study, profile=profile, prune=prune)}")


@main.command()
@click.argument("study", required=False)
@click.option("--sample", default=5, help="How many published runs to compute again.")
@click.option("--seed", default=0, help="Which ones are drawn.")
def verify(study: str | None, sample: int, seed: int) -> None:
    """Compute published runs again and compare every number.

    The runs are of STUDY, or of all studies. It fails if a number moved too far.

    Checks also, for each published file, that its runs are those the study asks for, whole and once each.
    """
    from survey_lib.experiment.sweeps.verify import verify as again

    table = again(study, sample, seed, click.echo)
    wrong = table[~table["agrees"]]
    if len(wrong):
        show(wrong)
        raise click.ClickException(f"{len(wrong)} of {len(table)} values and checks do not agree")
    runs = table["key"].replace("", None).nunique()
    click.echo(f"all {len(table)} values of {runs} runs came out as published, within what is said above")


@main.command()
@click.option("--profile", default="quick", type=click.Choice(["quick", "full"]), help="Minutes, or hours.")
@click.option("--jobs", default=2, type=click.IntRange(1), help="Parallel workers.")
@click.option("--out", default="build", type=DIRECTORY, help="Folder for all that is made.")
def reproduce(profile: str, jobs: int, out: Path) -> None:
    """Run the course again: a study, every notebook and figure.

    The study is `comparison`; its table is printed at the end.

    Call it again after an interruption: finished runs and notebooks are kept.
    """
    from survey_lib.cli.reproduce import reproduce as run_all

    if not run_all(profile, jobs, out):
        raise click.ClickException("not everything came out; names and reasons are above")
