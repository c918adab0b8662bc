"""Patterns between a weight and a filter: N:M groups, blocks, kernels and vectors, by hand."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.nn.utils import prune as torch_prune

from survey_lib import prune
from survey_lib.catalogue import METHODS, find
from survey_lib.chain.evidence.base import Evidence, collect
from survey_lib.chain.patterns import misfit, n_of_m, parse, permuted, pool, spread
from survey_lib.chain.selection import select
from survey_lib.methods.pattern.scores import channel_permutation


def scored(method: str, weight: torch.Tensor) -> torch.Tensor:
    return find(method).score(Evidence("w", weight))


def masked(method: str, weight: torch.Tensor, sparsity: float) -> torch.Tensor:
    row, score = find(method), scored(method, weight)
    keep = select({"w": pool(score, row.unit, row.pattern)}, sparsity, row.scope)["w"]
    return spread(keep, score.shape, row.unit, row.pattern)


def test_nm_magnitude_by_hand():
    weight = torch.tensor([[4.0, -1.0, -3.0, 2.0, 0.1, 0.2, 0.3, 0.4]])
    expected = [[True, False, True, False, False, False, True, True]]
    assert n_of_m(scored("nm-magnitude", weight), *parse(find("nm-magnitude").pattern)).tolist() == expected
    assert n_of_m(scored("nm-magnitude:1:4", weight), 1, 4).sum() == 2
    assert n_of_m(scored("nm-magnitude:4:8", weight), 4, 8).tolist() == [[True] * 4 + [False] * 4]


def test_nm_groups_of_a_convolution_run_along_the_input_dimension():
    weight = torch.zeros(1, 4, 2, 2)
    weight[0, :, 0, 0] = torch.tensor([4.0, 1.0, 3.0, 2.0])
    mask = n_of_m(weight.abs(), 2, 4)
    assert mask[0, :, 0, 0].tolist() == [True, False, True, False]
    assert (mask.sum(1) == 2).all()


@settings(deadline=None)
@given(st.integers(0, 8), st.integers(1, 8), st.integers(1, 3), st.booleans())
def test_nm_keeps_exactly_n_of_every_m_even_of_equals(n, m, groups, convolution):
    n = min(n, m)
    shape = (3, m * groups, 2, 2) if convolution else (3, m * groups)
    mask = n_of_m(torch.ones(shape), n, m)
    assert (mask.movedim(1, -1).reshape(-1, m).sum(1) == n).all()


def test_nm_equals_zeroing_the_smallest_of_each_group_with_torch():
    weight = torch.randn(6, 8)
    groups = nn.Linear(4, 12, bias=False)
    groups.weight.data = weight.view(12, 4)
    for row in range(12):
        single = nn.Linear(4, 1, bias=False)
        single.weight.data = groups.weight.data[row : row + 1]
        expected = torch_prune.l1_unstructured(single, "weight", 2).weight_mask.bool()
        assert torch.equal(n_of_m(weight.abs(), 2, 4).view(12, 4)[row : row + 1], expected)


def test_block_1xn_takes_n_output_kernels_of_one_input_channel():
    weight = torch.ones(4, 2, 3, 3)
    weight[0:2, 1] = -0.1  # outputs 0 and 1, input 1: L1 1.8, the plain sum would be lowest too
    weight[2:4, 0] = -2.0  # a plain sum would take this one
    mask = masked("block:1x2", weight, 0.25)
    assert not mask[0:2, 1].any() and int(mask.sum()) == 3 * 2 * 9


def test_block_rxc_takes_r_inputs_by_c_outputs_of_a_matrix():
    weight = torch.arange(1.0, 25.0).view(4, 6)
    mask = masked("block:3x2", weight, 0.25)
    expected = torch.ones(4, 6, dtype=torch.bool)
    expected[:2, :3] = False
    assert torch.equal(mask, expected)


def test_kernel_and_vector_by_hand():
    weight = torch.ones(2, 2, 3, 3)
    weight[0, 1] *= -0.5  # kernel of L1 4.5
    assert (~masked("kernel", weight, 0.25)).nonzero()[:, :2].unique(dim=0).tolist() == [[0, 1]]
    weight[1, 0, 2] = torch.tensor([-1.0, 0.1, 0.1])  # row of L1 1.2
    assert (~masked("vector", weight, 1 / 12)).nonzero().tolist() == [[1, 0, 2, k] for k in range(3)]


def test_b03_units_are_scored_by_absolute_values():
    weight = torch.zeros(1, 2, 3, 3)
    weight[0, 0].view(-1)[:8] = torch.tensor([1.0] * 4 + [-1.0] * 4)
    weight[0, 1] = 0.1
    for method in ("kernel", "block:1x1"):
        mask = masked(method, weight, 0.5)
        assert mask[0, 0].all() and not mask[0, 1].any()


@settings(deadline=None)
@given(
    st.sampled_from(["kernel", "vector", "block:1x2", "block:2x4"]), st.floats(0, 0.95), st.integers(0, 99)
)
def test_masks_are_whole_units_and_the_count_is_exact(method, sparsity, seed):
    weight = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(seed))
    mask, row = masked(method, weight, sparsity), find(method)
    units = pool(mask.float(), row.unit, row.pattern)
    size = mask.numel() // units.numel()
    assert set(units.unique().tolist()) <= {0.0, float(size)}
    assert int((units == 0).sum()) == round(sparsity * units.numel())
    assert torch.equal(spread(units > 0, mask.shape, row.unit, row.pattern), mask)


def test_layers_that_do_not_fit_say_why():
    assert misfit(torch.Size([4, 6]), "n:m", "2:4") == "6 inputs are not a multiple of 4"
    assert (
        misfit(torch.Size([6, 4, 3, 3]), "block", "1x4")
        == "4 inputs by 6 outputs are not a multiple of blocks 1x4"
    )
    assert "wider than 1" in misfit(torch.Size([4, 4, 1, 1]), "kernel", "")
    assert "wider than 1" in misfit(torch.Size([4, 4]), "vector", "")
    assert not misfit(torch.Size([8, 6, 3, 3]), "block", "1x4")


@pytest.mark.parametrize("pattern", ["2:", "0:4", "a:b", "2-4", ""])
def test_a_pattern_that_cannot_be_read_shows_both_forms(pattern):
    with pytest.raises(ValueError, match="must look like '2:4' .N:M. or '1x4' .block."):
        parse(pattern)


def test_more_than_all_of_a_group_cannot_be_kept():
    with pytest.raises(ValueError, match="N can be at most M; got '4:2'"):
        parse("4:2")


@pytest.mark.parametrize(
    "method", [n for n, row in METHODS.items() if row.category == "pattern" and row.score]
)
def test_b46_patterns_do_not_depend_on_memory_format(method):
    layer = nn.Conv2d(4, 8, 3)
    expected = scored(method, layer.weight.detach())
    changed = collect(layer.to(memory_format=torch.channels_last), ["weight"])["weight"]
    row = find(method)
    if row.unit == "n:m":
        assert torch.equal(n_of_m(row.score(changed), 2, 4), n_of_m(expected, 2, 4))
    else:
        assert torch.allclose(
            pool(row.score(changed), row.unit, row.pattern), pool(expected, row.unit, row.pattern)
        )


def kept(score: torch.Tensor, order, n: int, m: int) -> float:
    return float(score[:, list(order)].unflatten(1, (-1, m)).topk(n).values.sum())


def test_permutation_by_hand_brings_the_large_and_the_small_apart():
    score = torch.tensor([[8.0, 7.0, 6.0, 5.0, 1.0, 2.0, 3.0, 4.0]])
    assert kept(score, range(8), 2, 4) == 8 + 7 + 3 + 4
    assert kept(score, channel_permutation(score, 2, 4), 2, 4) == 8 + 7 + 6 + 5


def test_permutation_mixes_no_devices():
    with FakeTensorMode(), pytest.raises(DataDependentOutputException):  # it asks for a value, there is none
        channel_permutation(torch.empty(6, 8, device="cuda"), 2, 4)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([(1, 2), (1, 3), (2, 3)]))
def test_permutation_never_loses_and_no_swap_is_left_that_gains(seed, pattern):
    score = torch.rand(3, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    order = channel_permutation(score, *pattern).tolist()
    assert sorted(order) == list(range(6))
    best = max(kept(score, (0, *rest), *pattern) for rest in itertools.permutations(range(1, 6)))
    reached = kept(score, order, *pattern)
    assert kept(score, range(6), *pattern) - 1e-9 <= reached <= best + 1e-9
    for one, two in itertools.combinations(range(6), 2):
        swapped = list(order)
        swapped[one], swapped[two] = order[two], order[one]
        assert kept(score, swapped, *pattern) <= reached + 1e-9


def test_a_permuted_network_computes_the_same_and_keeps_more(net):
    x = torch.randn(2, 3, 8, 8)
    moved = permuted(net, x, "2:4", channel_permutation)
    assert not torch.equal(moved.conv1.weight, net.conv1.weight)
    assert torch.allclose(moved.double()(x.double()), net.double()(x.double()), rtol=1e-9)
    net.float()
    plain, better = (prune(net, name, 0.5, example=x) for name in ("nm-magnitude", "nm-permuted"))
    total = lambda result: sum(w.abs().sum() for n, w in result.model.named_parameters() if n in result.masks)  # noqa: E731
    assert total(better) > 1.01 * total(plain)
    again = prune(better.model, "nm-permuted", 0.5, masks=better.masks)  # a later round reorders nothing
    assert all(torch.equal(mask, again.masks[name]) for name, mask in better.masks.items())
    with pytest.raises(ValueError, match="nm-permuted traces the network .* give example="):
        prune(net, "nm-permuted", 0.5)
