"""The course run again by one call: the comparison study, every notebook, every figure, and the table."""

from pathlib import Path

from click import echo

from survey_lib.analysis.statistics import TooFew
from survey_lib.analysis.tables import distinct, finished, results_table
from survey_lib.course.notebooks import FOLDER, run_all
from survey_lib.experiment.sweeps import store, sweep
from survey_lib.figures.catalogue import FIGURES, figure

STUDY, FIRST = "comparison", "tradeoff"


def reproduce(profile: str, jobs: int, out: Path) -> bool:
    """Draw a figure of published runs, sweep, execute the notebooks, draw the figures, print the table.

    Notebooks and figures read the published runs, and with profile full those of this machine, once computed:
    lessons speak of whole studies. Finished runs and notebooks are kept, so an interrupted call goes on where
    it stopped.

    Parameters
    ----------
    profile : str
        Quick or full.
    jobs : int
        Number of processes.
    out : Path
        Folder of all that is made.

    Returns
    -------
    bool
        False for a failure.
    """
    out, shown = out.resolve(), profile if profile == "full" else "published"
    echo(f"first a picture of the published runs: open {figure(FIRST, out / 'figures')[0].as_uri()}")
    echo(f"1/4  study {STUDY}, profile {profile}")
    summary = sweep.sweep(STUDY, profile, jobs=jobs)
    echo(summary)
    if summary.interrupted:
        return False
    echo(f"2/4  notebooks, into {out / 'notebooks'}")
    failed = bool(summary.failed)
    for run in run_all(sorted(FOLDER.glob("*.ipynb")), {"profile": shown}, out / "notebooks", jobs):
        echo(run.line())
        failed |= bool(run.failure)
    echo(f"3/4  figures, into {out / 'figures'}")
    drawn = [_drawn(name, out / "figures", shown) for name in FIGURES]
    own = out / "figures" / profile
    drawn.append(_drawn(FIRST, own, profile, STUDY))
    echo(f"4/4  your own runs: open {(own / FIRST).as_uri()}.png; test accuracy, spread and number of seeds")
    table = results_table(distinct(finished(STUDY, local=True, profile=profile)))
    echo(table.round(3).to_string(index=False, na_rep=""))
    echo(f"for the notebooks: jupyter lab {out / 'notebooks'}; every run: {store.runs_folder() / STUDY}")
    return all(drawn) and not failed


def _drawn(name: str, folder: Path, profile: str, study: str = "") -> bool:
    """Draw one figure; a refusal is said and the others go on.

    With one seed, as in the quick profile, figures of intervals are refused by right: that is no fault.
    """
    try:
        figure(name, folder, profile, study)
    except ValueError as error:
        echo(f"{name}: not drawn, {error}")
        return isinstance(error, TooFew) and profile == "quick"
    return True
