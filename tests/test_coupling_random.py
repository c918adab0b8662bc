"""Property: in random networks every random cut either equals the mask or is refused with a reason."""

import copy
import os
from collections import Counter

import pytest
import torch
from random_nets import RandomNet

from survey_lib.chain import masks
from survey_lib.chain.coupling import group_masks, trace
from survey_lib.chain.surgery.cut import cut, equal, random_values
from survey_lib.chain.surgery.float64 import OverKept, run
from survey_lib.chain.surgery.plan import replay

NETS = int(os.environ.get("SURVEY_RANDOM_NETS", 500))  # a longer run: SURVEY_RANDOM_NETS=2000
PARTS = 10


def random_keep(coupling, seed):
    draw, keep = torch.Generator().manual_seed(seed), {}
    for group in coupling.groups:
        share = 0.1 + 0.5 * torch.rand(1, generator=draw).item()
        score = torch.rand(group.size, generator=draw)
        keep[group.name] = score >= score.sort().values[min(round(share * group.size), group.size - 1)]
    return keep


def check_net(seed) -> str:
    """Cut a random net; compare with the masked one on inputs that neither trace nor cut saw."""
    net = RandomNet(seed)
    coupling = trace(net, torch.randn(2, 2, 6, 6))
    result = cut(net, coupling, random_keep(coupling, seed), torch.randn(2, 2, 6, 6))
    assert all(reason for _, reason in result.refused)
    dense = copy.deepcopy(net).double().eval()
    dense.load_state_dict(random_values(net), strict=False)
    small = replay(dense, result.plan)
    masked = masks.masked_copy(dense, group_masks(dense, coupling, result.keep))
    over_kept = OverKept(masked, coupling, result.keep) if result.over_kept else None
    inputs = ((torch.randn(5, 2, 11, 9, dtype=torch.float64),), {})
    assert equal(run(masked, inputs, over_kept=over_kept), run(small, inputs)), (
        f"seed {seed}: wrong cut accepted"
    )
    if result.refused:
        return "part refused" if result.keep else "refused"
    return "nothing to cut" if not result.keep else "over kept" if result.over_kept else "exact"


@pytest.mark.parametrize("part", range(PARTS))
def test_random_networks_masked_equals_cut_or_refused(part):
    torch.set_num_threads(1)
    counts = Counter(check_net(seed) for seed in range(part, NETS, PARTS))
    print(dict(counts))
    assert counts["refused"] + counts["part refused"] <= 0.05 * counts.total()
