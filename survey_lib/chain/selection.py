"""From scores to keep-masks: exact counts, scopes, patterns and schedules.

Every function removes *exactly* the asked number of units. Among equal scores the lowest index goes
first, so that constant and tied scores give the same mask on every run (cases B01, B24).
"""

import math
from numbers import Real

import numpy as np
import torch
from torch import Tensor

SCOPES = ("layerwise", "global", "erk", "row")


def check_sparsity(sparsity: float) -> float:
    """The sparsity as a float in [0, 1), or a ValueError that says what is allowed."""
    if not isinstance(sparsity, Real) or isinstance(sparsity, bool) or not 0 <= sparsity < 1:
        raise ValueError(f"sparsity must lie in [0, 1), the fraction removed; got {sparsity!r}")
    return float(sparsity)


def keep_largest(score: Tensor, removed: int) -> Tensor:
    """Mask that removes exactly `removed` units, those of the lowest score (lowest index first in a tie).

    Found by partition, in linear time: on ResNet-50's 25 M weights a sort takes thirty times as long.

    Parameters
    ----------
    score : Tensor
        Score of any shape.
    removed : int
        Number of units.

    Examples
    --------
    >>> keep_largest(torch.tensor([0.0, 0.0, 1.0, 1.0, 2.0, 2.0]), 3)
    tensor([False, False, False,  True,  True,  True])
    """
    return _keep_in_each_row(score.detach().reshape(1, -1), removed).view(score.shape)


def keep_in_rows(score: Tensor, removed: int) -> Tensor:
    """Mask that removes exactly `removed` units, the same number from each row (the first rows one more).

    Parameters
    ----------
    score : Tensor
        Score (rows, ...).
    removed : int
        Number of units.

    Examples
    --------
    >>> keep_in_rows(torch.tensor([[1.0, 2.0], [9.0, 8.0]]), 2)
    tensor([[False,  True],
            [ True, False]])
    """
    rows = score.detach().flatten(1)
    share, rest = divmod(removed, len(rows))
    keep = [_keep_in_each_row(rows[:rest], share + 1), _keep_in_each_row(rows[rest:], share)]
    return torch.cat(keep).view(score.shape)


def _keep_in_each_row(rows: Tensor, removed: int) -> Tensor:
    """Mask (rows, columns) without the `removed` lowest scores of each row; of equal ones the first go."""
    if removed <= 0 or not len(rows):
        return torch.ones_like(rows, dtype=torch.bool)
    values = (rows if rows.dtype == torch.float64 else rows.float()).cpu().numpy()
    threshold = np.partition(values, removed - 1, axis=1)[:, removed - 1 : removed]
    keep, ties = values > threshold, values == threshold
    ties_kept = values.shape[1] - removed - np.count_nonzero(keep, axis=1)
    for row in np.flatnonzero(ties_kept):
        keep[row, np.flatnonzero(ties[row])[-ties_kept[row] :]] = True
    return torch.from_numpy(keep).to(rows.device)


def erk(shapes: dict[str, tuple[int, ...]], sparsity: float) -> dict[str, float]:
    """Erdős–Rényi–kernel layer sparsities (Mocanu et al. 2018, Evci et al. 2020).

    density_l = c · (Σ_d n_d) / (Π_d n_d) over the axes d of layer l, with c such that the network as a
    whole has the asked density; a layer that would exceed density 1 is left whole and c solved again.

    Parameters
    ----------
    shapes : dict[str, tuple[int, ...]]
        Shapes of the weights, by layer.
    sparsity : float
        Sparsity of the network as a whole.

    Examples
    --------
    >>> {k: round(v, 3) for k, v in erk({"a": (10, 10), "b": (20, 20)}, 0.5).items()}
    {'a': 0.167, 'b': 0.583}
    """
    size = {name: math.prod(shape) for name, shape in shapes.items()}
    raw = {name: sum(shape) / size[name] for name, shape in shapes.items()}
    budget, whole = (1 - sparsity) * sum(size.values()), set()
    while len(whole) < len(shapes):
        free = [name for name in shapes if name not in whole]
        scale = (budget - sum(size[n] for n in whole)) / sum(raw[n] * size[n] for n in free)
        over = {name for name in free if scale * raw[name] > 1}
        if not over:
            return {n: 0.0 if n in whole else 1 - scale * raw[n] for n in shapes}
        whole |= over
    return dict.fromkeys(shapes, 0.0)


def counts(sizes: dict[str, int], fractions: dict[str, float], minimum: int = 0) -> dict[str, int]:
    """How many units each layer loses, by largest remainder, so that the total is exact.

    Parameters
    ----------
    sizes : dict[str, int]
        Units of each layer.
    fractions : dict[str, float]
        Share that each layer loses.
    minimum : int, default 0
        Units that stay in every layer.

    Examples
    --------
    >>> counts({"a": 5, "b": 5}, {"a": 0.5, "b": 0.5})
    {'a': 3, 'b': 2}
    """
    exact = {n: sizes[n] * fractions[n] for n in sizes}
    removed = {n: min(math.floor(v + 1e-9), sizes[n] - minimum) for n, v in exact.items()}
    wanted = round(round(sum(exact.values()), 9))  # 25.499999999999996 is a half
    missing = wanted - sum(removed.values())
    while missing > 0 and (room := [n for n in sizes if removed[n] < sizes[n] - minimum]):
        for name in sorted(room, key=lambda n: removed[n] - exact[n])[:missing]:
            removed[name] += 1
            missing -= 1
    return removed


def select(
    scores: dict[str, Tensor],
    sparsity: float,
    scope: str = "layerwise",
    minimum: int = 0,
    *,
    fractions: dict[str, float] | None = None,
) -> dict[str, Tensor]:
    """Keep-masks `{name: bool tensor}` that remove `sparsity` of all units under a scope.

    `layerwise`, `row` and `erk` round in each layer, `row` also takes the same share from each output row;
    `global` ranks all units together.

    Parameters
    ----------
    scores : dict[str, Tensor]
        By layer, higher means keep.
    sparsity : float
        Fraction of all units to remove, in [0, 1).
    scope : str, default 'layerwise'
        layerwise, global, erk or row.
    minimum : int, default 0
        Units that stay in every layer (1 for channel groups, which must not be emptied; 0 for weights).
    fractions : dict[str, float], optional
        Layer sparsities that are decided already.

    Raises
    ------
    ValueError
        For a sparsity outside [0, 1), an unknown scope, or scores that are not finite.

    Examples
    --------
    >>> select({"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3.0, 4.0])}, 0.5, "global")
    {'a': tensor([False, False]), 'b': tensor([True, True])}
    """
    check_sparsity(sparsity)
    if scope not in SCOPES:
        raise ValueError(f"unknown scope {scope!r}; allowed: {', '.join(SCOPES)}")
    check_finite(scores)
    if scope == "global" and fractions is None:
        return _select_global(scores, sparsity, minimum)
    if scope == "erk" and fractions is None:
        fractions = erk({name: tuple(score.shape) for name, score in scores.items()}, sparsity)
    if fractions is None:
        removed = {n: min(round(sparsity * s.numel()), s.numel() - minimum) for n, s in scores.items()}
    else:
        removed = counts({n: s.numel() for n, s in scores.items()}, fractions, minimum)
    keep = keep_in_rows if scope == "row" else keep_largest
    return {n: keep(s, removed[n]) for n, s in scores.items()}


def _select_global(scores: dict[str, Tensor], sparsity: float, minimum: int) -> dict[str, Tensor]:
    flat = torch.cat([score.detach().flatten() for score in scores.values()])
    removed = min(round(sparsity * flat.numel()), flat.numel() - minimum * len(scores))
    if minimum:
        best = [keep_largest(score.flatten(), score.numel() - minimum) for score in scores.values()]
        flat[torch.cat(best)] = torch.inf
    parts = keep_largest(flat, removed).split([score.numel() for score in scores.values()])
    return {name: part.view(scores[name].shape) for name, part in zip(scores, parts, strict=True)}


def check_finite(scores: dict[str, Tensor]) -> None:
    """ValueError that names the first tensor with NaN or infinite entries and how many (case B04)."""
    for name, score in scores.items():
        if score.numel() and not all(map(torch.isfinite, score.detach().aminmax())):
            bad = int((~torch.isfinite(score)).sum())
            what = f"{name}: {bad} of {score.numel()} entries are NaN or infinite"
            raise ValueError(f"{what}, so units cannot be ranked; repair the weights, or the batches")


def round_sparsities(sparsity: float, rounds: int) -> list[float]:
    """Cumulative sparsity after each of n equal *relative* rounds, 1 − (1 − s)^(k/n); the last one is s (case B07).

    Parameters
    ----------
    sparsity : float
        s, after the last round.
    rounds : int
        n; 0 stands for as many as it takes to remove at most 20 % of what is left in each
        (frankle2019lottery).

    Examples
    --------
    >>> round_sparsities(0.75, 2)
    [0.5, 0.75]
    """
    if rounds == 0:
        rounds = max(1, math.ceil(math.log(1 - sparsity) / math.log(0.8) - 1e-9))
    return [*(1 - (1 - sparsity) ** (k / rounds) for k in range(1, rounds)), sparsity]


def cubic(step: float, last: float, final: float) -> float:
    """Cubic sparsity schedule s (1 − (1 − t/T)³), held at s from step T on (zhu2017prune).

    Parameters
    ----------
    step : float
        Step t.
    last : float
        Last step T.
    final : float
        Final sparsity s.

    Examples
    --------
    >>> cubic(5, 10, 0.8), cubic(12, 10, 0.8)
    (0.7000000000000001, 0.8)
    """
    progress = min(max(step / last, 0.0), 1.0) if last > 0 else 1.0
    return final - final * (1 - progress) ** 3
