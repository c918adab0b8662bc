"""A record as one line of strict JSON, and back, checked."""

import json

from pydantic import ValidationError

from survey_lib.experiment.records.schema import Header, Record
from survey_lib.experiment.records.wording import in_words


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
