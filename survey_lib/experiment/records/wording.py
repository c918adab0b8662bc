"""What pydantic finds wrong, in the words of this library."""

import re

from pydantic import ValidationError


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
    says = {"extra_forbidden": "is not a field here", "missing": "is missing"}.get(found["type"])
    if not says and found["type"] == "value_error":  # raised by our own checks, which name the value
        says = str(found["ctx"]["error"])
    if not says:
        wanted = re.sub("a valid dictionary.*", "a mapping, a line `name: value` each", found["msg"])
        says = f"{wanted.replace('Input should be', 'must be')}, got {found['input']!r}"
    return f"{field}: {says}" if field else says
