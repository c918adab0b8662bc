"""Two records of one run, compared number by number: all that they hold, except what is listed here."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

NOT_COMPARED = frozenset(  # what was asked for, which the key tells; of time, machine and code
    ("schema", "key", "config", "version", "environment", "warnings", "seconds", "cpu_seconds", "uncounted")
)
FIXED = frozenset(("method", "status", "reason", "scope"))  # asked for, not found
CHAOS = 1e-4  # from this drift of the losses on, training has taken another way
LOOSE = 10  # times the tolerance: for values that a share of right answers is steadier than
FREE = 10.0  # allowed where another processor may find anything
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
        """Whether they do not differ by more; what is no number is equal or as far apart as can be."""
        numbers = all(isinstance(value, int | float) for value in (self.published, self.now))
        apart = abs(self.published - self.now) / max(1.0, abs(self.published)) if numbers else FREE
        return self.published == self.now or apart <= self.allowed


def compare(published: dict, now: dict, tolerance: float) -> list[Pair]:
    """Each value of a published record beside that of the same run computed again.

    Where at least half of the losses are equal to the last bit, this machine computes as the publishing one
    did, whatever their names: then all must be equal. Elsewhere the drift d, the median relative difference
    of the losses, says how far training has moved. Bounds, times min(1, d / 1e-4):

    * `tolerance`: accuracies on validation and test set, of the dense and the recovered network

    * 10 · `tolerance`: other trained values; sizes, where layers got unequal shares

    * 10: values before recovery, on corrupted images, of single classes or examples; such layers

    * 0: all else

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
    leaves = [(path, a, b) for path, a, b in _leaves(published, now) if not (older and None in (a, b))]
    losses = [(a, b) for path, a, b in leaves if "loss" in path[-1] and type(a) is type(b) is float]
    drift = min(1.0, median([abs(a - b) / max(abs(a), 1e-12) for a, b in losses] or [0.0]) / CHAOS)
    shares = [layer["sparsity"] for layer in now.get("layers", ())] or [0.0]
    found = now.get("scope") == "global" or max(shares) - min(shares) > UNEQUAL
    untrained = {"pruned", "recalibrated"} | (
        {"recovered"} if now.get("config", {}).get("recovery") == "none" else set()
    )
    return [
        Pair(".".join(path), a, b, drift * _bound(path, tolerance, found, untrained)) for path, a, b in leaves
    ]


def _leaves(
    published: object, now: object, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], object, object]]:
    """Path and both values of all that is no dict or list of equal length; None for a value that is not there."""
    if isinstance(published, dict) and isinstance(now, dict):
        for name in sorted((published.keys() | now.keys()) - NOT_COMPARED):
            yield from _leaves(published.get(name), now.get(name), (*path, name))
    elif isinstance(published, list) and isinstance(now, list) and len(published) == len(now):
        for place, (one, other) in enumerate(zip(published, now, strict=True)):
            yield from _leaves(one, other, (*path, str(place)))
    else:
        yield path, published, now


def _bound(path: tuple[str, ...], tolerance: float, found: bool, untrained: set[str]) -> float:
    """What two processors may differ by once training has taken another way; exact is what training does not touch."""
    part, name, names = path[0], path[-1], {*path}
    if part in FIXED or name in ("lr", "epoch", "stage", "n"):
        return 0.0
    if part in ("layers", "skipped"):
        return FREE if found else 0.0
    if part in ("sizes", "ledger", "sparsity"):
        return LOOSE * tolerance if found else 0.0
    if names & {*untrained, "corrupted", "per_class_accuracy", "correct"}:
        return FREE
    return tolerance if name in ("accuracy", "validation_accuracy") else LOOSE * tolerance
