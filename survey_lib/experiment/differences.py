"""Two records of one run, compared value by value: all that they hold, except what is listed here."""

from collections.abc import Iterator
from dataclasses import dataclass

NOT_COMPARED = frozenset(  # what was asked for, which the key tells; of time, machine and code
    ("schema", "key", "config", "version", "environment", "warnings", "seconds", "cpu_seconds", "uncounted")
)
ASKED = frozenset(("method", "status", "reason", "scope", "lr", "epoch", "stage", "n"))
COUNTED = frozenset(("layers", "skipped", "sizes", "ledger", "sparsity"))
LOOSE = 1.0  # bound of values that are less steady than the accuracy of a trained network
UNEQUAL = 0.1  # difference of layers' sparsities from which on it was found, not asked for


@dataclass(frozen=True)
class Pair:
    """One value of a record, published and now, and by how much they may differ.

    The bound is a share of the value, if that is above one.
    """

    path: str
    published: object
    now: object
    allowed: float

    @property
    def agrees(self) -> bool:
        """Whether they do not differ by more; what is no number must be equal."""
        if not all(isinstance(value, int | float) for value in (self.published, self.now)):
            return self.published == self.now
        return abs(self.published - self.now) <= self.allowed * max(1.0, abs(self.published))


def compare(published: dict, now: dict, tolerance: float) -> list[Pair]:
    """Each value of a published record beside that of the same run computed again.

    Where at least half of the losses are equal to the last bit, this machine computes as the publishing one
    did, whatever their names: then all must be equal. Elsewhere two networks were trained, and these may
    differ:

    * accuracies on validation and test set, of the dense and the recovered network: by `tolerance`

    * all else that was measured: by 1; so may what was counted, where layers got unequal shares by a ranking

    * which examples were right: this is not compared there

    A field that only one of the two has is a difference, except where the published record is of an older
    schema.

    Parameters
    ----------
    published : dict
        A published record.
    now : dict
        The record of the same run, computed again.
    tolerance : float
        Tolerance of accuracies.
    """
    older = published.get("schema") != now.get("schema")
    values = [(path, a, b) for path, a, b in _values(published, now) if not (older and None in (a, b))]
    equal = [a == b for path, a, b in values if "loss" in path[-1]]
    here = 2 * sum(equal) >= len(equal)
    return [
        Pair(".".join(path), a, b, 0.0 if here else _bound(path, now, tolerance))
        for path, a, b in values
        if here or path[-1] != "correct"
    ]


def _values(published: object, now: object, *path: str) -> Iterator[tuple[tuple[str, ...], object, object]]:
    """Path and both values of all that is no dict or list of equal length; None for a value that is not there."""
    if isinstance(published, list) and isinstance(now, list) and len(published) == len(now):
        published, now = (dict(enumerate(values)) for values in (published, now))
    if isinstance(published, dict) and isinstance(now, dict):
        for name in sorted((published.keys() | now.keys()) - NOT_COMPARED):
            yield from _values(published.get(name), now.get(name), *path, str(name))
    else:
        yield path, published, now


def _bound(path: tuple[str, ...], now: dict, tolerance: float) -> float:
    """By how much a value may differ between two processors."""
    if ASKED & {path[0], path[-1]}:
        return 0.0
    if path[0] in COUNTED:
        shares = [layer["sparsity"] for layer in now.get("layers", ())] or [0.0]
        return LOOSE if now.get("scope") == "global" or max(shares) - min(shares) > UNEQUAL else 0.0
    unsteady = {"pruned", "recalibrated", "corrupted"}
    if now["config"]["recovery"] == "none":
        unsteady.add("recovered")
    steady = path[-1] in ("accuracy", "validation_accuracy") and not unsteady & {*path}
    return tolerance if steady else LOOSE
