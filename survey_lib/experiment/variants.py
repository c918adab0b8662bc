"""The variants of one model that are timed: masked, cut, cut with aligned widths, and in patterns."""

import random

from torch import Tensor, nn

from survey_lib.catalogue import find
from survey_lib.chain import channels, masks
from survey_lib.chain.coupling import Coupling, group_masks, trace
from survey_lib.chain.selection import keep_largest
from survey_lib.chain.surgery import cut as surgery
from survey_lib.prune import prune

ALIGNED = 8  # channels: floats in one AVX2 register
SPREAD = (-3, -2, -1, 1, 2, 3)


def rounded(count: int, size: int) -> int:
    """The multiple of 8 nearest to `count`, at most `size`; a group smaller than that stays whole.

    Parameters
    ----------
    count : int
        Count of channels.
    size : int
        Size of the group.

    Examples
    --------
    >>> rounded(34, 64), rounded(3, 64), rounded(63, 64), rounded(3, 6)
    (32, 8, 64, 6)
    """
    return min(size, max(ALIGNED, ALIGNED * round(count / ALIGNED)))


def widths(coupling: Coupling) -> dict[str, int]:
    """Half of each group, and of groups of more than eight three channels more or less.

    These are widths as rankings across layers leave them, never even by design.
    """
    draw = random.Random(0)
    spread = {group.name: draw.choice(SPREAD) if group.size > 8 else 0 for group in coupling.groups}
    return {group.name: max(1, group.size // 2 + spread[group.name]) for group in coupling.groups}


def keep_of(scores: dict[str, Tensor], counts: dict[str, int]) -> dict[str, Tensor]:
    """Bool masks over the channels of each group: the `counts` best by score.

    Parameters
    ----------
    scores : dict[str, Tensor]
        Scores by group.
    counts : dict[str, int]
        Channels to keep of each group.
    """
    return {name: keep_largest(score, len(score) - counts[name]) for name, score in scores.items()}


def variants(model: nn.Module, example: Tensor) -> dict[str, nn.Module]:
    """Six models by name, in eval mode: what pruning half of `model` can leave behind.

    Parameters
    ----------
    model : nn.Module
        The network.
    example : Tensor
        An input of its forward.

    Returns
    -------
    dict[str, nn.Module]
        * dense: as given
        * masked: half of the filters zero, by L1 norm
        * 2:4: half of the weights zero, two of every four
        * 1x4: half of the weights zero, in blocks of four filters
        * cut: the filters of `masked` cut out; widths are odd, as a ranking across layers leaves them
        * aligned: cut with every width rounded to a multiple of 8: where widths are multiples of 16,
          exactly half
    """
    model = model.eval()
    coupling = trace(model, example)
    row = find("l1-filter")
    scores = channels.score_groups(row.score, channels.collect(model, coupling, row.needs))
    odd = widths(coupling)
    sizes = {group.name: group.size for group in coupling.groups}
    keep = keep_of(scores, odd)
    even = keep_of(scores, {name: rounded(count, sizes[name]) for name, count in odd.items()})
    made = {
        "dense": model,
        "masked": masks.masked_copy(model, group_masks(model, coupling, coupling.balance(keep))),
        "2:4": prune(model, "nm-magnitude:2:4", 0.5).model,
        "1x4": prune(model, "block:1x4", 0.5).model,
        "cut": surgery.cut(model, coupling, keep, example).model,
        "aligned": surgery.cut(model, coupling, even, example).model,
    }
    return {name: one.eval() for name, one in made.items()}
