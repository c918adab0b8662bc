"""The course run again by one call: the comparison study, every notebook, every figure, and the table."""

from collections.abc import Callable
from pathlib import Path

from survey_lib.analysis.statistics import TooFew
from survey_lib.analysis.tables import distinct, finished, results_table
from survey_lib.course.notebooks import FOLDER, run_all
from survey_lib.experiment.sweeps import store, sweep
from survey_lib.figures.catalogue import FIGURES, figure

STUDY, FIRST = "comparison", "tradeoff"


def reproduce(profile: str, jobs: int, out: str | Path, say: Callable[[str], None]) -> bool:
    """Draw a figure of published runs, sweep, execute the notebooks, draw the figures, say the table.

    Notebooks and figures read the published runs, and with profile full those of this machine, once computed:
    lessons speak of whole studies. Finished runs and notebooks are kept, so an interrupted call goes on where
    it stopped.

    Parameters
    ----------
    profile : str
        Quick or full.
    jobs : int
        Number of processes.
    out : str | Path
        Folder of the figures.
    say : Callable[[str], None]
        Is called with each line of progress.

    Returns
    -------
    bool
        False for a failure.
    """
    out, shown = Path(out).resolve(), profile if profile == "full" else "published"
    say(f"first a picture of the published runs: open {figure(FIRST, out / 'figures')[0].as_uri()}")
    say(f"1/4  study {STUDY}, profile {profile}")
    summary = sweep.sweep(STUDY, profile, jobs=jobs)
    say(str(summary))
    if summary.interrupted:
        return False
    say(f"2/4  notebooks, into {out / 'notebooks'}")
    lessons = sorted(FOLDER.glob("*.ipynb"))
    runs = run_all(lessons, {"profile": shown}, out / "notebooks", jobs, report=lambda run: say(run.line()))
    say(f"3/4  figures, into {out / 'figures'}")
    faults = [name for name in FIGURES if not _drawn(name, out / "figures", shown, say)]
    own = out / "figures" / profile
    faults += [] if _drawn(FIRST, own, profile, say, STUDY) else [FIRST]
    say(f"4/4  your own runs: open {(own / FIRST).as_uri()}.png; test accuracy, spread and number of seeds")
    table = results_table(distinct(finished(STUDY, local=True, profile=profile)))
    say(table.round(3).to_string(index=False, na_rep=""))
    say(f"for the notebooks: jupyter lab {out / 'notebooks'}; every run: {store.runs_folder() / STUDY}")
    return not summary.failed and not faults and not any(run.failure for run in runs)


def _drawn(name: str, folder: Path, profile: str, say: Callable[[str], None], study: str = "") -> bool:
    """Draw one figure; a refusal is said and the others go on.

    With one seed, as in the quick profile, figures of intervals are refused by right: that is no fault.
    """
    try:
        figure(name, folder, profile, study)
    except ValueError as error:
        say(f"{name}: not drawn, {error}")
        return isinstance(error, TooFew) and profile == "quick"
    return True
