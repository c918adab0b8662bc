"""A name that does not exist is refused in one way: with what is near, and what there is."""

import difflib
from collections.abc import Iterable

SHOWN = 20  # of the names that there are


def known(kind: str, name: str, there: Iterable[str]) -> str:
    """The name, if it is one of those that there are.

    Parameters
    ----------
    kind : str
        What it is the name of, for the error.
    name : str
        As asked for.
    there : Iterable[str]
        All names of the kind.

    Raises
    ------
    ValueError
        For any other name, with the nearest ones.

    Examples
    --------
    >>> known("shape", "sqare", ["square", "circle"])
    Traceback (most recent call last):
    ValueError: unknown shape 'sqare'; near: square; allowed: square, circle
    """
    if name in (names := list(there)):
        return name
    near = difflib.get_close_matches(str(name), names, 4, 0.4)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    listed = ", ".join(map(str, names[:SHOWN])) or "none"
    raise ValueError(f"unknown {kind} {name!r}; near: {', '.join(near) or 'none'}; allowed: {listed}{more}")
