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

from survey_lib.experiment.data.sources import REPOSITORY
from survey_lib.experiment.records import in_words
from survey_lib.experiment.runs.config import DENSE, RunConfig
from survey_lib.lookup import known
from survey_lib.repository import needed

FOLDER = REPOSITORY / "data" / "studies"
LARGEST_FILE, LARGEST_PROFILE = 100_000, 1_000_000  # values, runs
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
    if not path.is_file():
        raise FileNotFoundError(f"no study file {path}; studies by name: {', '.join(names())}")
    if path != FOLDER / path.name and (FOLDER / path.name).exists():
        raise ValueError(
            f"{path}: the course has a study {path.stem!r} already; rename your file, and `name` in it, "
            f"to my-{path.stem} for example"
        )
    _own[check_name(path.stem)] = path
    try:
        return load(path.stem).name
    except ValueError:
        del _own[path.stem]
        raise


def check_name(name: str) -> str:
    """The name if it can be that of a study, and so of a file here; ValueError for a path or anything longer."""
    if not re.fullmatch(r"\w[\w.-]{0,99}", name):
        raise ValueError(
            f"a study's name is letters, digits, '.', '-' and '_', at most 100; got {name[:120]!r}"
        )
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
    try:
        study = parse(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if study.name != name:
        raise ValueError(f"{path} has name: {study.name}; write name: {name}, which is that of the file")
    return study


def parse(text: str) -> Study:
    """A study from the YAML of its file; ValueError that names the field that is wrong, or is there twice."""
    try:
        if _size(yaml.compose(text, yaml.SafeLoader), {}) > LARGEST_FILE:
            raise ValueError(f"with its aliases written out it has more than {LARGEST_FILE:,} values")
        return Study.model_validate(yaml.safe_load(text))
    except ValidationError as error:
        raise ValueError(in_words(error)) from error
    except yaml.MarkedYAMLError as error:
        raise ValueError(f"line {error.problem_mark.line + 1} is no valid YAML: {error.problem}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"no valid YAML: {error}") from error


def _size(node: yaml.Node | None, sizes: dict[yaml.Node, int]) -> int:
    """Values in a YAML node, those of an alias counted wherever it stands."""
    if node not in sizes:
        sizes[node] = LARGEST_FILE + 1  # where a node is met again inside itself
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        for name, count in Counter(str(key.value) for key, _ in pairs).items():
            if count > 1:
                raise ValueError(f"{name!r} is there twice in the mapping of line {node.start_mark.line + 1}")
        inside = node.value if isinstance(node, yaml.SequenceNode) else [value for _, value in pairs]
        sizes[node] = 1 + sum(_size(part, sizes) for part in inside)
    return sizes[node]


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
    return list(by_key(name, profile).values())


def by_key(name: str, profile: str) -> dict[str, RunConfig]:
    """The runs of `configs` by their keys.

    Keys take long to compute a hundred thousand times, so they are kept.

    Parameters
    ----------
    name : str
        Name of the study.
    profile : str
        Quick or full.
    """
    return runs(load(name), profile)


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
        if [] in lists or asked > LARGEST_PROFILE:
            problem = "a list is empty" if [] in lists else f"{asked:,} runs, allowed are {LARGEST_PROFILE:,}"
            raise ValueError(f"study {study.name}, profile {profile}: {problem} in grid {str(grid)[:200]}")
        for values in itertools.product(*lists):
            try:
                config = RunConfig(**dict(zip(fields, values, strict=True)))
            except ValidationError as error:
                raise ValueError(
                    f"study {study.name}, profile {profile}, grid {str(grid)[:200]}: {in_words(error)}"
                ) from error
            found[config.key()] = config
    return dict(sorted(found.items(), key=lambda pair: pair[1].method != DENSE))


@cache
def keys(name: str) -> frozenset[str] | None:
    """Keys of every run that any profile of a study asks for; None for a study without a file."""
    if name not in names():
        return None
    return frozenset(key for profile in load(name).profiles for key in by_key(name, profile))
