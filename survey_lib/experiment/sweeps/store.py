"""One atomic JSON file a run; published results underneath.

runs/STUDY/KEY.json         local runs, ignored by git (or the folder SURVEY_RUNS)
data/results/STUDY.jsonl    published runs, one sorted line each
"""

import os
import warnings
from pathlib import Path

import pandas as pd

from survey_lib.experiment import files
from survey_lib.experiment import records as lines
from survey_lib.experiment.data.sources import REPOSITORY
from survey_lib.experiment.runs.config import digest, identity
from survey_lib.experiment.sweeps import results_table as tidy
from survey_lib.experiment.sweeps import study as studies

PUBLISHED = REPOSITORY / "data" / "results"
# Wall over CPU seconds: above it a time says more of the machine's other work than of the run's
CROWDED = 1.5


def runs_folder() -> Path:
    """Folder of local runs: SURVEY_RUNS, else `runs` in the repository."""
    folder = Path(os.environ.get("SURVEY_RUNS") or REPOSITORY / "runs")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; set SURVEY_RUNS to a folder for the records of runs")
    return folder


def study_folder(study: str) -> Path:
    """Folder of a study's local runs.

    Parameters
    ----------
    study : str
        Name of the study.

    Raises
    ------
    ValueError
        For a name that could leave the runs folder.
    """
    return runs_folder() / studies.check_name(study)


def published_file(study: str) -> Path:
    """The published file of a study.

    Parameters
    ----------
    study : str
        Name of the study.
    """
    return PUBLISHED / f"{study}.jsonl"


def write(study: str, record: dict) -> Path:
    """Write one run's file in one step: a reader, or a crash, sees the whole file or none.

    Parameters
    ----------
    study : str
        Name of the study.
    record : dict
        Record of the run.

    Raises
    ------
    ValueError
        For a record that does not hold, by `records.parse`.
    """
    path, text = study_folder(study) / f"{record['key']}.json", lines.dump(record)
    lines.parse(text)
    return files.replace(path, text + "\n")


def local_records(study: str) -> dict[str, dict]:
    """Local runs by key.

    Files that cannot be read are named, moved to `set-aside` and so run again (B67).

    Parameters
    ----------
    study : str
        Name of the study.
    """
    paths = sorted(study_folder(study).glob("*.json"))
    return {path.stem: record for path in paths if (record := _read(path))}


def _same(record: dict) -> str:
    """Equal for runs of equal configs, whatever schema and version of the method computed them."""
    return digest(identity(record["config"]))


def _read(path: Path) -> dict | None:
    try:
        files.check_plain(path)
        return lines.parse(path.read_text(encoding="utf-8"), path.stem)
    except FileNotFoundError:  # another sweep just set it aside
        return None
    except (ValueError, PermissionError) as error:  # JSON and Unicode errors are ValueErrors
        reason = error
    try:
        done = f"set aside as {files.set_aside(path)}, the run will be done again"
    except OSError as why:  # a read-only disk
        done = f"left out, and not set aside ({why})"
    warnings.warn(f"{path} {done}: {reason}", stacklevel=2)
    return None


def published_records(study: str) -> dict[str, dict]:
    """Published runs by key.

    Parameters
    ----------
    study : str
        Name of the study.

    Raises
    ------
    ValueError
        For a damaged one; the text names the file and line.
    """
    return {record["key"]: record for record in published_lines(study)}


def published_lines(study: str) -> list[dict]:
    """The record of each line of a published file; errors as of `published_records`.

    Parameters
    ----------
    study : str
        Name of the study.
    """
    path, found = published_file(studies.check_name(study)), []
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    written = text.removesuffix("\n").split("\n") if text else []  # splitlines would also split at U+2028
    for number, line in enumerate(written, 1):
        try:
            found.append(lines.parse(line))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}; restore the file") from error
    return found


def records(study: str, *, local: bool = True, profile: str | None = None) -> list[dict]:
    """Full records of a study, sorted by key: local runs over the published ones.

    Local runs of configs that the study no longer asks for are left out.

    Parameters
    ----------
    study : str
        Name of the study.
    local : bool, default True
        With the runs of this machine.
    profile : str, optional
        Only the runs of quick or full.
    """
    found = published_records(study)
    if local:
        asked = studies.keys(study)
        mine = {key: run for key, run in local_records(study).items() if asked is None or key in asked}
        covered = set(map(_same, mine.values()))
        found = {key: run for key, run in found.items() if _same(run) not in covered} | mine
    return [run for _, run in sorted(found.items()) if profile in (None, run["config"]["profile"])]


def results(study: str, *, local: bool = True, profile: str | None = None) -> pd.DataFrame:
    """One tidy row a run, local runs over the published ones.

    Columns: see `results_table.COLUMNS`. Failed runs stand in it with their status and reason.

    Parameters
    ----------
    study : str
        Name of the study.
    local : bool, default True
        False reads only what was published.
    profile : str, optional
        Only the runs of quick or full.

    Raises
    ------
    ValueError
        For a study that nobody knows.
    """
    found = records(study, local=local, profile=profile)
    if not found:
        studies.load(study)
    return tidy.frame([tidy.row(study, record) for record in found])


def short(record: dict) -> dict:
    """The record as it is published.

    Of its curve, which would be most of the file, the last point of each stage (all points where the test accuracy
    is followed); no wall seconds of stages that shared the processor.
    """
    if record["status"] != "done":
        return record
    points, ledger = record["curve"], record["ledger"]
    if not record["config"].get("track_test"):
        points = list({point["stage"]: point for point in points}.values())
    return record | {
        "curve": points,
        "ledger": [entry | {"seconds": None} if _crowded(entry) else entry for entry in ledger],
    }


def _crowded(spent: dict) -> bool:
    cpu, wall = spent.get("cpu_seconds"), spent["seconds"]
    return None not in (cpu, wall) and wall > CROWDED * cpu


def publish(study: str, profile: str = "full", prune: bool = False) -> Path:
    """Write the finished and refused runs of a profile as the study's published file.

    The same runs make the same bytes.

    Parameters
    ----------
    study : str
        Name of the study.
    profile : str, default 'full'
        Quick or full.
    prune : bool, default False
        Published runs may be dropped.

    Raises
    ------
    ValueError
        When there is no run; and, unless `prune`, when a published run would be dropped: one that the
        study no longer asks for, or whose method or schema has changed and that was not computed again.
    """
    asked = studies.keys(study)
    done = [
        record
        for record in records(study, profile=profile)
        if record["status"] != "failed" and (asked is None or record["key"] in asked)
    ]
    if not done:
        raise ValueError(
            f"{study} has no finished run of profile {profile}; "
            f"first: survey sweep {study} --profile {profile}"
        )
    kept = set(map(_same, done))
    lost = [run for run in published_records(study).values() if _same(run) not in kept]
    if lost and not prune:
        named = [f"{run['key']} ({title(run['config'])})" for run in lost[:5]]
        shown = "; ".join([*named, "..."] if len(lost) > 5 else named)
        raise ValueError(
            f"{len(lost)} published runs of {study} would be dropped: {shown}. Compute them first, "
            f"`survey sweep {study} --profile {profile}`, or drop them with --prune"
        )
    content = "".join(lines.dump(short(record)) + "\n" for record in done)
    return files.replace(published_file(study), content)


def title(config: dict) -> str:
    """What a run is, in a few words."""
    method, sparsity, seed = (config[name] for name in ("method", "sparsity", "seed"))
    return f"{method} at {sparsity:g}, {config['model']} on {config['data']}, seed {seed}"
