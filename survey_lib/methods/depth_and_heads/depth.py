"""Methods of the category depth: whole residual blocks and transformer layers.

A score takes the Evidence of one block and gives a tensor of one number; higher means keep.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cosine_similarity

from survey_lib.chain.evidence.base import Evidence


def block_influence(evidence: Evidence) -> Tensor:
    """How much a block turns its input, 1 − E cos(x, block(x)) over examples and positions (men2024shortgpt).

    `act_in` and `act_out` are (examples, channels, positions...); the cosine is taken along the channels.
    Ranges from 0 to 2. Fails for blocks that change little but at the right places, and one at a time: two
    blocks that are each dispensable may not be so together.

    >>> import torch; x = torch.tensor([[1.0, 0.0]])
    >>> block_influence(Evidence("block", torch.zeros(1), act_in=x, act_out=torch.tensor([[0.0, 2.0]])))
    tensor(1.)
    """
    return 1 - cosine_similarity(evidence.act_in, evidence.act_out, dim=1).mean()
