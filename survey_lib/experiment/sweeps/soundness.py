"""What can be wrong with a published file without computing a run: counts and versions of its runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from survey_lib.catalogue import find
from survey_lib.experiment.runs.config import RunConfig
from survey_lib.experiment.sweeps import study as studies

Fault = tuple[str, str]  # key, what is wrong


def faults(study: str, records: list[dict]) -> list[Fault]:
    """Key and fault of each published line that `survey publish` cannot have written.

    The runs must be those that the study's profiles ask for, once each, finished, and of the present versions
    of their methods. (Keys, fields and possible values are checked when records are read.) Methods with a newer
    version are named once each.

    Parameters
    ----------
    study : str
        Name of the study.
    records : list[dict]
        Its published lines.
    """
    configs = [(record, RunConfig(**record["config"])) for record in records]
    of_study = (check(study, configs) for check in (_versions, _counts))
    failed = [(r["key"], "a run that failed is not published") for r in records if r["status"] == "failed"]
    return [fault for found in (failed, *of_study) for fault in found]


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
