"""METHODS: one row a method. It is the registry, and joined with the literature data the survey's own table."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from survey_lib.methods import filter as filters
from survey_lib.methods import channel, pattern, weight

CATEGORIES = ("weight", "pattern", "filter", "channel", "depth", "head")


@dataclass(frozen=True)
class Method:
    """One method of the survey.

    `score`: Evidence -> Tensor, higher means keep. `needs`: the Evidence fields it reads beside `weight`.
    `unit`: weight, n:m, block, kernel, vector (masks) or filter, channel, layer, head (cut out).
    `when`: before, during or after training. `scope`: the paper's own; the caller may choose another.
    `version` is part of every run's key: raise it when the method's result changes.
    """

    name: str
    category: str
    unit: str
    when: str
    score: Callable[..., Tensor] | None
    one_line: str
    paper: str = ""
    notebook: str = ""
    needs: tuple[str, ...] = ()
    scope: str = "layerwise"
    schedule: str = "one-shot"
    pattern: str = ""
    solve: Callable | None = None
    during: Callable | None = None
    version: int = 1
    status: str = "works"
    reason: str = ""

    @property
    def structure(self) -> str:
        """unstructured, semi-structured or structured: what a cut or a sparse kernel can make of it."""
        return {"weight": "unstructured", "pattern": "semi-structured"}.get(self.category, "structured")


ROWS: tuple[Method, ...] = ()

METHODS: dict[str, Method] = {row.name: row for row in ROWS}


def find(name: str) -> Method:
    """The method of this name; `nm-magnitude:4:8` or `block:1x4` chooses the pattern.

    Raises ValueError that lists near matches for an unknown name.
    """
    base, _, chosen = name.partition(":")
    if base not in METHODS or METHODS[base].status != "works":
        near = difflib.get_close_matches(base, METHODS, 4, 0.5) or list(METHODS)
        raise ValueError(f"unknown method {name!r}; near: {', '.join(near)}. `survey methods` lists all")
    method = METHODS[base]
    if chosen and not method.pattern:
        raise ValueError(f"{base} takes no pattern; got {name!r}")
    return replace(method, pattern=chosen) if chosen else method
