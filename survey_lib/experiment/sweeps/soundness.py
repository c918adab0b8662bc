"""What can be wrong with a published file without computing a run: keys, counts, fields, dense networks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from survey_lib.catalogue import find
from survey_lib.experiment.records.differences import compare
from survey_lib.experiment.runs.config import RunConfig
from survey_lib.experiment.runs.record import method_of
from survey_lib.experiment.sweeps import study as studies

Fault = tuple[str, str]  # key, what is wrong


def faults(study: str, records: list[dict]) -> list[Fault]:
    """Key and fault of each published line that `survey publish` cannot have written.

    The runs must be those that the study's profiles ask for, once each, finished, of the present versions of
    their methods, all with the same fields, and with one dense network a seed. (That keys are the hashes of
    configs is checked when records are read.) Methods with a newer version are named once each.

    Parameters
    ----------
    study : str
        Name of the study.
    records : list[dict]
        Its published lines.
    """
    configs = [(record, RunConfig(**record["config"])) for record in records]
    of_study = (check(study, configs) for check in (_versions, _methods, _counts, _dense))
    failed = [(r["key"], "a run that failed is not published") for r in records if r["status"] == "failed"]
    return [fault for found in (failed, _fields(records), *of_study) for fault in found]


def outdated(record: dict) -> bool:
    """Whether the method of a record has another version now, so that the run cannot be computed as it was."""
    row = RunConfig(**record["config"]).row
    return row is not None and record["method"]["version"] != row.version


def _versions(study: str, configs: list[tuple[dict, RunConfig]]) -> Iterator[Fault]:
    old = Counter(
        (config.method, record["method"]["version"], config.profile)
        for record, config in configs
        if outdated(record)
    )
    for (method, version, profile), count in old.items():
        yield (
            "",
            (
                f"{count} runs of {method} are of version {version} of the method, which has version "
                f"{find(method).version} now, and cannot be compared: survey sweep {study} --profile {profile}, "
                f"then survey publish {study} --profile {profile}"
            ),
        )


def _methods(study: str, configs: list[tuple[dict, RunConfig]]) -> Iterator[Fault]:
    """Runs that call their method's category, structure, unit or time other than the catalogue does."""
    for record, config in configs:
        found = record["method"] | {"version": None}
        if not outdated(record) and found != method_of(config) | {"version": None}:
            yield record["key"], f"{record['method']} is not what the catalogue says of {config.method}"


def _counts(study: str, configs: list[tuple[dict, RunConfig]]) -> Iterator[Fault]:
    """Runs that are there twice, that the study does not ask for, or that it asks for and are not there."""
    keys = {config: record["key"] for record, config in configs}
    for config, count in Counter(config for _, config in configs).items():
        if count > 1:
            yield keys[config], f"its config is there {count} times"
    profiles = sorted({config.profile for config in keys} & studies.load(study).profiles.keys())
    asked = {config: key for name in profiles for key, config in studies.by_key(study, name).items()}
    yield from ((key, "the study does not ask for it") for config, key in keys.items() if config not in asked)
    yield from (
        (key, "the study asks for it, and it is not there")
        for config, key in asked.items()
        if config not in keys
    )


def _fields(records: list[dict]) -> Iterator[Fault]:
    """Fields that a record lacks and others of the study, of the same kind, have; configs may gain fields later."""
    found = [(record, _kind(record), set(_names(record | {"config": None}))) for record in records]
    usual: dict[tuple, set[str]] = {}
    for _, kind, names in found:
        usual.setdefault(kind, set()).update(names)
    for record, kind, names in found:
        lacking = [
            path for path in usual[kind] - names if path[-1] != "]" and path.rpartition(".")[0] in names
        ]
        if lacking:
            yield record["key"], f"it lacks {', '.join(sorted(lacking))}"


def _kind(record: dict) -> tuple:
    """What decides which fields a record has."""
    config = record["config"]
    options = (config["data"], config.get("connect"), config.get("track_test"))
    return (record["schema"], record["status"], record["method"]["structure"], *options)


def _names(value: object, path: str = "") -> Iterator[str]:
    """Paths of all fields; the items of a list share one, which ends in []."""
    yield path
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _names(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from _names(inner, f"{path}[]")


def _dense(study: str, configs: list[tuple[dict, RunConfig]]) -> Iterator[Fault]:
    """Runs of one seed whose dense network is not the same."""
    first: dict[tuple[int, str], dict] = {}
    tolerance = studies.load(study).tolerance
    for record, config in configs:
        if record["status"] == "done":
            part = {
                "metrics": {"dense": record["metrics"]["dense"]},
                "sizes": {"dense": record["sizes"]["dense"]},
            }
            known = first.setdefault((record["schema"], config.dense_key()), part)
            for pair in compare(known, part, tolerance):
                if not pair.agrees:
                    yield (
                        record["key"],
                        f"{pair.path} is {pair.now}, that of other runs of its seed {pair.published}",
                    )
