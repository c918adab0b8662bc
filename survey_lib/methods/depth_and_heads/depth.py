"""Methods of the category depth: whole residual blocks and transformer layers.

A score takes the Evidence of one block and gives a tensor of one number; higher means keep. A `solve` method
takes the Evidence of all blocks, in the order of the model, and how many to remove, and returns the
keep-mask.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from survey_lib.chain.evidence.base import Evidence


def block_influence(evidence: Evidence) -> Tensor:
    """Leave out blocks that hardly turn their input (men2024shortgpt).

    score = 1 − E cos(x, block(x)) over examples and positions. `act_in` and `act_out` are (examples,
    channels, positions...); the cosine is taken along the channels. Ranges from 0 to 2. Fails for blocks
    that change little but at the right places, and one at a time: two blocks that are each dispensable may
    not be so together.

    Examples
    --------
    >>> import torch; x = torch.tensor([[1.0, 0.0]])
    >>> block_influence(Evidence("block", torch.zeros(1), act_in=x, act_out=torch.tensor([[0.0, 2.0]])))
    tensor(1.)
    """
    return 1 - cosine_similarity(evidence.act_in, evidence.act_out, dim=1).mean()


def angular_distance(found: Sequence[Evidence], removed: int) -> Tensor:
    """Leave out the run of n neighbouring blocks that turns its input least (gromov2024unreasonable).

    The run from block l has distance E arccos(cos(x_l, x_{l+n})) / π, x_l what block l reads and x_{l+n} what
    the last of the run returns; the cosine is taken along the channels. The paper looks at the last token of
    each text; here all positions count, as images have no last one. Only runs that end in the shape they
    began with can go. Fails where dispensable blocks are not neighbours.

    Parameters
    ----------
    found : Sequence[Evidence]
        Evidence of the blocks, in order.
    removed : int
        Number n of blocks.

    Raises
    ------
    ValueError
        If no run is as long as asked.

    Examples
    --------
    >>> x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> pairs = [(x, y), (y, x), (x, -x)]  # each turns its input, but the first two together do not
    >>> angular_distance([Evidence(str(i), x, act_in=a, act_out=b) for i, (a, b) in enumerate(pairs)], 2)
    tensor([False, False,  True])
    """
    keep, distances = torch.ones(len(found), dtype=torch.bool), {}
    for start in range(len(found) - removed + 1 if removed else 0):
        before, after = found[start].act_in, found[start + removed - 1].act_out
        if before.shape == after.shape:
            cosine = cosine_similarity(before, after, dim=1).clamp(-1, 1)
            distances[start] = float(cosine.arccos().mean()) / math.pi
    if removed and not distances:
        raise ValueError(f"no {removed} neighbouring blocks keep their input's shape; ask for fewer")
    if removed:
        start = min(distances, key=distances.get)
        keep[start : start + removed] = False
    return keep
