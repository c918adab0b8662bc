"""One atomic JSON file a run; published results underneath.

runs/STUDY/KEY.json         local runs, ignored by git (or the folder SURVEY_RUNS)
data/results/STUDY.jsonl    published runs, one sorted line each
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from survey_lib.experiment import study as studies
from survey_lib.experiment.config import SCHEMA
from survey_lib.experiment.sources import REPOSITORY
from survey_lib.experiment.tidy import tidy

MARK = "$float"  # {"$float": "nan"} stands for what strict JSON cannot hold
ASIDE = "set-aside"


def runs_folder(runs: str | Path | None = None) -> Path:
    """Folder of local runs: the argument, else SURVEY_RUNS, else `runs` in the repository."""
    return Path(runs or os.environ.get("SURVEY_RUNS") or REPOSITORY / "runs")


def published_file(study: str, published: str | Path | None = None) -> Path:
    """The published file of a study, in `published` or data/results."""
    return Path(published or REPOSITORY / "data" / "results") / f"{study}.jsonl"


def encode(value: Any) -> Any:
    """A record as strict JSON can hold it: numpy and torch values become plain ones, nan and inf a marker.

    >>> encode({"loss": np.float32("nan"), "n": np.int64(3)})
    {'loss': {'$float': 'nan'}, 'n': 3}
    """
    if isinstance(value, dict):
        return {str(name): encode(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [encode(inner) for inner in value]
    if isinstance(value, np.ndarray | Tensor):
        return encode(value.tolist())
    if isinstance(value, np.generic):
        return encode(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return {MARK: str(value)}
    return value


def decode(value: Any) -> Any:
    """The inverse of `encode`.

    >>> decode({"loss": {"$float": "-inf"}})
    {'loss': -inf}
    """
    if isinstance(value, dict):
        if value.keys() == {MARK}:
            return float(value[MARK])
        return {name: decode(inner) for name, inner in value.items()}
    return [decode(inner) for inner in value] if isinstance(value, list) else value


def _line(record: dict) -> str:
    return json.dumps(encode(record), allow_nan=False, sort_keys=True, ensure_ascii=False)


def write(study: str, record: dict, runs: str | Path | None = None) -> Path:
    """Write one run's file in one step: a reader, or a crash, sees the whole file or none."""
    return _replace(runs_folder(runs) / study / f"{record['key']}.json", _line(record) + "\n")


def _replace(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".tmp")
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path


def parse(text: str, key: str | None = None) -> dict:
    """A record from its JSON line. ValueError for anything else: cut off, foreign, another schema or key."""
    record = decode(json.loads(text))
    if not isinstance(record, dict) or not {"schema", "key", "status", "config"} <= record.keys():
        raise ValueError("not a record of a run")
    if record["schema"] != SCHEMA:
        raise ValueError(f"schema {record['schema']}, this version of survey_lib reads {SCHEMA}")
    if key not in (None, record["key"]):
        raise ValueError(f"it holds the run {record['key']}")
    return record


def local_records(study: str, runs: str | Path | None = None) -> dict[str, dict]:
    """Local runs by key. Files that cannot be read are named, moved to `set-aside` and so run again (B67)."""
    found = {}
    for path in sorted((runs_folder(runs) / study).glob("*.json")):
        try:
            found[path.stem] = parse(path.read_text(encoding="utf-8"), path.stem)
        except ValueError as error:  # JSON and Unicode errors are ValueErrors
            aside = path.parent / ASIDE / path.name
            aside.parent.mkdir(exist_ok=True)
            os.replace(path, aside)
            warnings.warn(f"{path} set aside as {aside}, the run will be done again: {error}", stacklevel=2)
    return found


def published_records(study: str, published: str | Path | None = None) -> dict[str, dict]:
    """Published runs by key. Raises ValueError that names the file and line for a damaged one."""
    path, found = published_file(study, published), {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            record = parse(line)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}; restore the file") from error
        found[record["key"]] = record
    return found


def records(study: str, runs: str | Path | None = None, published: str | Path | None = None, *,
            local: bool = True, profile: str | None = None) -> list[dict]:  # fmt: skip
    """Full records of a study, sorted by key: local runs over the published ones.

    Local runs of configs that the study no longer asks for are left out. profile: only that one's runs.
    """
    found = published_records(study, published)
    if local:
        asked = studies.keys(study)
        mine = {k: record for k, record in local_records(study, runs).items() if asked is None or k in asked}
        same = [record["config"] for record in mine.values()]
        found = {key: record for key, record in found.items() if record["config"] not in same} | mine
    chosen = sorted(found.items())
    return [record for _, record in chosen if profile in (None, record["config"]["profile"])]


def results(study: str, runs: str | Path | None = None, published: str | Path | None = None, *,
            local: bool = True, profile: str | None = None) -> pd.DataFrame:  # fmt: skip
    """One tidy row a run (columns: see `tidy.COLUMNS`), local runs over the published ones.

    local=False reads only what was published; profile ("quick", "full") only that profile's runs.
    Failed runs stand in it with their status and reason. An unknown study gives an empty table.
    """
    return tidy(study, records(study, runs, published, local=local, profile=profile))


def publish(study: str, runs: str | Path | None = None, published: str | Path | None = None,
            profile: str = "full") -> Path:  # fmt: skip
    """Write the finished runs of a profile as the study's published file; the same runs give the same bytes.

    Raises ValueError when there is none.
    """
    asked = studies.keys(study)
    done = [record for record in records(study, runs, published, profile=profile)
            if record["status"] == "done" and (asked is None or record["key"] in asked)]  # fmt: skip
    if not done:
        raise ValueError(f"{study} has no finished run of profile {profile}; "
                         f"first: survey sweep {study} --profile {profile}")  # fmt: skip
    lines = [_line(record) for record in done]
    return _replace(published_file(study, published), "\n".join(lines) + "\n")
