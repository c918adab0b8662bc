"""Guided fuzzing of what is read from files: results lines, study files, plans, notes of slim models. Needs `pip install atheris`.

    python benchmarks/fuzz.py -max_total_time=180 [CORPUS]

Bytes that reach new branches of the readers are kept and changed again (libFuzzer). Anything but a value or a ValueError stops the run and
saves the bytes. Starts from one true example of each kind. The tests fuzz the same readers with hypothesis.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["survey_lib"]):
    import survey_lib
    from survey_lib.chain.surgery import cut as surgery
    from survey_lib.experiment.networks import models
    from survey_lib.experiment.runs import record_json
    from survey_lib.experiment.sweeps import store, study

import torch

DENSE = models.build("resnet-8", 10, (3, 16, 16)).eval()
PLAN = survey_lib.prune(DENSE, "l1-filter", 0.5, example=torch.randn(2, 3, 16, 16)).plan


def results_line(text: str) -> None:
    record_json.parse(text)


def study_file(text: str) -> None:
    found = study.parse(text)
    for profile in found.profiles:
        study.runs(found, profile)


def plan(text: str) -> None:
    surgery.replay(DENSE, record_json.load(text))


def name_of_study(text: str) -> None:
    study.load(text)


READERS = (results_line, study_file, plan, name_of_study)


def examples(folder: Path) -> None:
    """One true input of each kind; the first byte chooses the reader."""
    record = store.records("weight", local=False)[0]
    found = (
        record_json.dump(record | {"curve": []}),
        (study.FOLDER / "weight.yaml").read_text(),
        json.dumps(PLAN),
        "weight",
    )
    for number, text in enumerate(found):
        (folder / str(number)).write_bytes(bytes([number]) + text.encode())


def one(data: bytes) -> None:
    if data:
        with contextlib.suppress(ValueError):
            READERS[data[0] % len(READERS)](data[1:].decode("utf-8", "surrogateescape"))


if __name__ == "__main__":
    corpus = tempfile.mkdtemp()
    examples(Path(corpus))
    atheris.Setup([*sys.argv, "-max_len=65536", "-timeout=60", corpus], one)
    atheris.Fuzz()
