"""A record as one line of strict JSON, and back, checked."""

import json
import math
from typing import Any

import numpy as np
from pydantic import ValidationError
from torch import Tensor

from survey_lib.experiment.records.schema import Header, Record

MARK = "$float"  # {"$float": "nan"} stands for what strict JSON cannot hold


def encode(value: Any) -> Any:
    """A record as strict JSON can hold it: numpy and torch values become plain ones, nan and inf a marker.

    Examples
    --------
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


def dump(record: dict) -> str:
    """One line of strict JSON with sorted names: equal records give equal bytes."""
    return json.dumps(encode(record), allow_nan=False, sort_keys=True, ensure_ascii=False)


def load(text: str) -> Any:
    """The inverse of `dump`.

    Raises
    ------
    ValueError
        For anything that is not JSON.

    Examples
    --------
    >>> load('{"loss": {"$float": "-inf"}}')
    {'loss': -inf}
    """
    try:
        return json.loads(text, object_hook=_unmark)
    except (RecursionError, TypeError) as error:
        raise ValueError(f"not a record of a run: {error}") from error


def _unmark(value: dict) -> Any:
    return float(value[MARK]) if value.keys() == {MARK} else value


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
    record = load(text)
    finished = isinstance(record, dict) and record.get("status") == "done"
    try:
        found = (Record if finished else Header).model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise ValueError(f"not a record of a run: {field}: {first['msg']}") from error
    if key not in (None, found.key):
        raise ValueError(f"it holds the run {found.key}")
    return record
