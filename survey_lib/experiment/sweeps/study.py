"""Studies: named grids of runs in data/studies/NAME.yaml."""

import itertools
import math
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, Field, ValidationError

from survey_lib.experiment.records import in_words
from survey_lib.experiment.runs.config import DENSE, RunConfig
from survey_lib.lookup import known
from survey_lib.repository import REPOSITORY, needed

FOLDER = REPOSITORY / "data" / "studies"
LARGEST_PROFILE = 1_000_000  # runs
Grid = dict[str, Any]  # field -> value, or list of values
_own: dict[str, Path] = {}  # studies of the user, by name


class Profile(BaseModel, frozen=True, extra="forbid"):
    """Fields common to all runs of a profile, and grids: each the product of its lists."""

    common: Grid = {}
    grids: list[Grid] = Field(min_length=1)


class Study(BaseModel, frozen=True, extra="forbid"):
    """A question and the runs that answer it, at two costs."""

    name: str
    question: str
    family: str = ""  # what is compared in it, in one sentence: these comparisons are corrected together
    # Of an accuracy on another processor: 0.037 was seen (300 images)
    tolerance: float = Field(0.05, gt=0, le=0.1)
    profiles: dict[str, Profile]


def names() -> list[str]:
    """All studies that have a file here, and those of `use`."""
    return sorted({*_own, *(path.stem for path in FOLDER.glob("*.yaml"))})


def use(path: str | Path) -> str:
    """Make a study file of your own known to this process; its name, under which its runs are stored.

    Raises FileNotFoundError without a file, ValueError for one that is wrong or has the name of another
    study.
    """
    path = Path(path).resolve()
    if path != FOLDER / path.name and (FOLDER / path.name).exists():
        taken = f"{path}: the course has a study {path.stem!r} already"
        raise ValueError(f"{taken}; rename your file, and `name` in it, to my-{path.stem} for example")
    name = check_name(_read(path).name)
    _own[name] = path
    return name


def check_name(name: str) -> str:
    """The name if it can be that of a study, and so of a file here; ValueError for a path or anything longer."""
    if not re.fullmatch(r"\w[\w.-]{0,99}", name):
        wanted = "at most 100 letters, digits, '.', '-' and '_'"
        raise ValueError(f"a study's name is {wanted}; got {name[:120]!r}")
    return name


def load(name: str) -> Study:
    """A study by name.

    Raises
    ------
    ValueError
        For an unknown study, with near matches, or a file with a wrong field, which is named.
    """
    path = _own.get(check_name(name), FOLDER / f"{name}.yaml")
    if not path.exists():
        needed(FOLDER)
        known("study", name, names())
    return _read(path)


def _read(path: Path) -> Study:
    try:
        study = parse(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if study.name != path.stem:
        raise ValueError(f"{path} has name: {study.name}; write name: {path.stem}, which is that of the file")
    return study


class _Loader(yaml.SafeLoader):
    """YAML in which no name stands twice in one mapping; plain YAML would take the last value."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        for name, count in Counter(str(key.value) for key, _ in node.value).items():
            if count > 1:
                raise ValueError(f"{name!r} is there twice in the mapping of line {node.start_mark.line + 1}")
        return node


def parse(text: str) -> Study:
    """A study from the YAML of its file; ValueError that names the field that is wrong, or is there twice."""
    try:
        return Study.model_validate(_Loader(text).get_single_data())
    except ValidationError as error:
        raise ValueError(in_words(error)) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"no valid YAML: {' '.join(str(error).split())}") from error


def configs(name: str, profile: str) -> list[RunConfig]:
    """Every run a profile of a study asks for, once each, the dense ones first.

    A grid is the product of its lists: `{method: [random, magnitude], sparsity: [0.5, 0.8]}` is four runs.

    Parameters
    ----------
    name : str
        Name of the study.
    profile : str
        Quick or full.

    Raises
    ------
    ValueError
        For an unknown profile, an empty list, more than a million runs, or a run that is not valid (the
        grid is named).
    """
    return list(runs(load(name), profile).values())


def runs(study: Study, profile: str) -> dict[str, RunConfig]:
    """The runs that a profile of any study, stored or not, asks for, by their keys.

    Errors as of `configs`.

    Parameters
    ----------
    study : Study
        A study with its profiles.
    profile : str
        Quick or full.
    """
    known(f"profile of {study.name}", profile, study.profiles)
    found, asked = {}, 0
    for grid in study.profiles[profile].grids:
        fields = study.profiles[profile].common | grid | {"profile": profile}
        lists = [value if isinstance(value, list) else [value] for value in fields.values()]
        asked += math.prod(map(len, lists))
        where = f"study {study.name}, profile {profile}, grid {str(grid)[:200]}"
        if [] in lists:
            raise ValueError(f"{where}: a list is empty")
        if asked > LARGEST_PROFILE:
            raise ValueError(f"{where}: {asked:,} runs, allowed are {LARGEST_PROFILE:,}")
        for values in itertools.product(*lists):
            try:
                config = RunConfig(**dict(zip(fields, values, strict=True)))
            except ValidationError as error:
                raise ValueError(f"{where}: {in_words(error)}") from error
            found[config.key()] = config
    return dict(sorted(found.items(), key=lambda pair: pair[1].method != DENSE))


@cache
def keys(name: str) -> frozenset[str]:
    """Keys of every run that any profile of a study asks for."""
    study = load(name)
    return frozenset(key for profile in study.profiles for key in runs(study, profile))
