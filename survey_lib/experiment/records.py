"""The record of a run: which values are possible, and one as a line of JSON and back, checked."""

from __future__ import annotations

import base64
import json
import re
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, Field, ValidationError, model_validator

from survey_lib.experiment.runs.config import FROZEN, SCHEMA, Frozen, key_of

Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Above = Annotated[float, Field(gt=0)]


def pack(right: np.ndarray) -> str:
    """Bools as base64 of their bits, eight a byte.

    Examples
    --------
    >>> unpack(pack(np.array([True, False, True])), 3)
    array([ True, False,  True])
    """
    return base64.b64encode(np.packbits(right)).decode()


def unpack(text: str, n: int) -> np.ndarray:
    """The inverse of `pack` for `n` bools.

    Parameters
    ----------
    text : str
        Text in base64.
    n : int
        Number of bools.

    Raises
    ------
    ValueError
        For text that is not base64 or holds another number.
    """
    packed = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    if len(packed) != -(-n // 8):
        raise ValueError(f"{len(packed)} bytes of bits cannot be {n} examples")
    return np.unpackbits(packed, count=n).astype(bool)


class Part(BaseModel, strict=True, allow_inf_nan=False):
    """Of a record: strict types, finite numbers; what is not named here is kept and not checked.

    Fields that may be None came later than schema 1, or do not fit every run.
    """


class Method(Part):
    """The method of a run, and the version of its row."""

    category: str
    structure: str
    when: str
    version: int | Literal["dense"]  # "dense" in schema 1


class Environment(Part):
    """Where a run was computed."""

    machine: str
    commit: str


class Layer(Part):
    """What is left of a layer."""

    layer: str
    total: Positive
    kept: Count
    sparsity: Share


class Metrics(Part):
    """On one split: means over its n examples, and for images of the test set which of them were right."""

    accuracy: Share
    loss: Amount
    ece: Share
    agreement: Share
    per_class_accuracy: list[Share | None] | None = None
    divergence: float | None = None
    n: Positive | None = None
    correct: str | None = None

    @model_validator(mode="after")
    def _bits(self) -> Metrics:
        if self.correct and abs(float(unpack(self.correct, self.n or 0).mean()) - self.accuracy) > 1e-6:
            raise ValueError(f"the bits of correct are not an accuracy of {self.accuracy}")
        return self


class Splits(Part, extra="forbid"):
    """Metrics on validation and test set."""

    test: Metrics
    validation: Metrics | None = None
    corrupted: Metrics | None = None
    written: Metrics | None = None  # stories written by hand, where test is text of the language model


class Stages(Part, extra="forbid"):
    """dense; pruned: as cut; recalibrated: then with new batch-norm statistics; recovered: at the end."""

    dense: Splits
    pruned: Splits
    recalibrated: Splits | None = None
    recovered: Splits


class Size(Part):
    """What a network costs."""

    parameters: Positive
    sparsity_all: Share
    nonzero_parameters: Count
    macs: Above
    nonzero_macs: Amount


class Sizes(Part):
    """What the dense and the pruned network cost."""

    dense: Size
    pruned: Size
    compression: Above
    theoretical_speedup: Above


class Spent(Part):
    """A line of the ledger. Wall seconds are left out of what is published where the machine was crowded."""

    stage: str
    epochs: Count
    examples: Count
    training_macs: Amount
    nonzero_training_macs: Amount | None = None
    seconds: Amount | None
    cpu_seconds: Amount | None = None


class Point(Part):
    """An epoch of a training curve."""

    stage: str
    epoch: Positive
    lr: Amount
    loss: Amount
    validation_accuracy: Share
    test_accuracy: Share | None = None


class Header(Part, title="record"):
    """What every record holds, that of a failed run too."""

    schema_: Annotated[Literal[1, SCHEMA], Field(alias="schema")]
    key: str
    status: Literal["done", "failed", "refused"]  # refused: its mask leaves a layer empty
    reason: str
    config: dict[str, Any]
    method: Method
    environment: Environment

    @model_validator(mode="after")
    def _key(self) -> Header:
        Frozen.model_validate({name: self.config.get(name) for name in FROZEN})
        version = 1 if self.method.version == "dense" else self.method.version
        if self.key != key_of(self.config, self.schema_, version):
            raise ValueError(f"{self.key} is not the key of its config and version")
        return self


class Record(Header):
    """The record of a finished run."""

    scope: str | None
    sparsity: Share
    layers: list[Layer]
    metrics: Stages
    sizes: Sizes
    ledger: list[Spent]
    curve: list[Point]
    initial_overlap: Share | None = None
    losses: list[Amount] | None = None  # at the end, of each test text of the language model


def in_words(error: ValidationError) -> str:
    """Each fault as `field: what it must be, got what it is`.

    Examples
    --------
    >>> from pydantic import BaseModel, ConfigDict, Field
    >>> class Point(BaseModel):
    ...     model_config = ConfigDict(extra="forbid")
    ...     x: int = Field(ge=0)
    >>> try: Point(x=-1, z=3)
    ... except ValidationError as error: print(in_words(error))
    x: must be greater than or equal to 0, got -1; z: is not a field here
    """
    return "; ".join(map(_fault, error.errors(include_url=False)))


def _fault(found: dict) -> str:
    field = ".".join(map(str, found["loc"]))
    wanted = re.sub("a valid dictionary.*", "a mapping, a line `name: value` each", found["msg"])
    says = {
        "extra_forbidden": "is not a field here",
        "missing": "is missing",
        "value_error": wanted.removeprefix("Value error, "),  # raised by our own checks, which name the value
    }.get(found["type"]) or f"{wanted.replace('Input should be', 'must be')}, got {found['input']!r}"
    return f"{field}: {says}" if field else says


def dump(record: dict) -> str:
    """One line of strict JSON with sorted names: equal records give equal bytes.

    Values of numpy and torch become plain ones. ValueError for nan and infinity, which no result of a run is.

    Examples
    --------
    >>> import numpy as np
    >>> dump({"n": np.int64(3), "loss": np.array([0.5])})
    '{"loss": [0.5], "n": 3}'
    """
    return json.dumps(
        record, default=lambda value: value.tolist(), allow_nan=False, sort_keys=True, ensure_ascii=False
    )


def parse(text: str, key: str | None = None) -> dict:
    """A record from its line.

    Parameters
    ----------
    text : str
        The line of the file.
    key : str, optional
        The key that the record must have.

    Raises
    ------
    ValueError
        For anything else: cut off, foreign, another key, impossible values.
    """
    try:
        record = json.loads(text)
        finished = isinstance(record, dict) and record.get("status") == "done"
        found = (Record if finished else Header).model_validate(record)
    except ValidationError as error:
        raise ValueError(f"not a record of a run: {in_words(error)}") from error
    except RecursionError as error:
        raise ValueError(f"not a record of a run: {error}") from error
    if key not in (None, found.key):
        raise ValueError(f"it holds the run {found.key}")
    return record
