"""Filter scores against values worked out by hand and against oracles."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from survey_lib.catalogue import find
from survey_lib.chain import channels
from survey_lib.chain.coupling import trace
from survey_lib.chain.evidence.base import Evidence
from survey_lib.chain.selection import keep_largest, select
from survey_lib.experiment.networks.models import build
from survey_lib.methods.filter import scores as filters


def seen(weight=None, **fields) -> Evidence:
    return Evidence("conv", torch.zeros(2, 1) if weight is None else weight, **fields)


def test_b03_l1_takes_absolute_values():
    strong = torch.tensor([1.0, 1, 1, 1, -1, -1, -1, -1, 0]).view(1, 1, 3, 3)
    weight = torch.cat([strong, torch.full((1, 1, 3, 3), 0.1)])
    l1, l2 = filters.l1_filter(seen(weight)), filters.l2_filter(seen(weight))
    assert l1.tolist() == pytest.approx([8.0, 0.9]) and l2.tolist() == pytest.approx([8**0.5, 0.3])
    for score in (l1, l2):
        assert keep_largest(score, 1).tolist() == [True, False]


def test_random_filter_repeats_by_seed_and_differs_between_layers():
    draw = lambda seed: filters.random_filter(seen(torch.zeros(16, 1), seed=seed))  # noqa: E731
    assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))


def test_fpgm_by_hand_and_its_largest_norm_may_go():
    weight = torch.tensor([[10.0, 0.0], [10.0, 3.0], [10.0, -4.0], [0.0, 0.0]])
    score = filters.fpgm(seen(weight))
    assert score.tolist() == pytest.approx(
        [0 + 3 + 4 + 10, 3 + 7 + 109**0.5, 4 + 7 + 116**0.5, 10 + 109**0.5 + 116**0.5]
    )
    assert score.argmin() == 0  # the median of the others goes, the small one stays


@pytest.mark.parametrize("shape", [(3, 5), (4, 4)])
def test_hrank_is_the_mean_matrix_rank(shape):
    generator = torch.Generator().manual_seed(0)
    factors = [
        torch.randn(2, 3, shape[0], 2, generator=generator),
        torch.randn(2, 3, 2, shape[1], generator=generator),
    ]
    maps = factors[0] @ factors[1]
    maps[0, 1] = 0
    maps[1, 2] = torch.eye(*shape)
    score = filters.hrank(seen(torch.zeros(3, 1), act_out=maps))
    ranks = [[torch.linalg.matrix_rank(maps[x, c]).item() for c in range(3)] for x in range(2)]
    assert ranks[0] == [2, 0, 2] and score.tolist() == pytest.approx(
        torch.tensor(ranks).float().mean(0).tolist()
    )
    assert filters.hrank(seen(torch.zeros(3, 1), act_out=maps.flatten(2))).tolist() == [
        1.0,
        0.5,
        1.0,
    ]  # vectors


def test_apoz_by_hand():
    maps = torch.tensor([[[0.0, 1.0], [0.0, 0.0]], [[2.0, 1.0], [0.0, 3.0]]])
    assert filters.apoz(seen(act_out=maps)).tolist() == [0.75, 0.25]


def test_taylor_activation_takes_absolute_values_after_the_mean_over_space():
    maps = torch.tensor([[[1.0, 1.0], [1.0, 1.0]], [[1.0, 1.0], [2.0, 0.0]]])
    grads = torch.tensor([[[1.0, -1.0], [3.0, 1.0]], [[2.0, 4.0], [-1.0, 5.0]]])
    # per example: channel 0 |0|, |3|; channel 1 |2|, |−1|; means 1.5 and 1.5
    score = filters.taylor_activation(seen(act_out=maps, act_grad=grads))
    assert score.tolist() == pytest.approx([0.5**0.5] * 2)
    assert filters.taylor_activation(seen(act_out=maps, act_grad=grads * 7)).tolist() == pytest.approx(
        score.tolist()
    )
    assert filters.taylor_activation(seen(act_out=maps, act_grad=grads * 0)).tolist() == [0.0, 0.0]


def test_obd_filter_by_hand():
    weight, fisher = torch.tensor([[1.0, -2.0], [3.0, 0.0]]), torch.tensor([[2.0, 1.0], [4.0, 9.0]])
    assert filters.obd_filter(seen(weight, example_grad_sq=fisher)).tolist() == [3.0, 18.0]


def test_chip_is_the_drop_of_the_nuclear_norm():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(3, 4, 2, 3, generator=generator)
    score = filters.chip(seen(torch.zeros(4, 1), act_out=maps))
    for channel in range(4):
        zeroed = maps.flatten(2).clone()
        zeroed[:, channel] = 0
        drops = [torch.linalg.matrix_norm(m, "nuc") for m in maps.flatten(2)]
        drops = [d - torch.linalg.matrix_norm(m, "nuc") for d, m in zip(drops, zeroed, strict=True)]
        assert score[channel].item() == pytest.approx(sum(drops).item() / 3, rel=1e-4)


WEIGHTED = {
    "l1": filters.l1_filter,
    "l2": filters.l2_filter,
    "fpgm": filters.fpgm,
}


@pytest.mark.parametrize("score", WEIGHTED.values(), ids=WEIGHTED.keys())
@settings(max_examples=25, deadline=None)
@given(st.integers(2, 6), st.integers(0, 2**16))
def test_scores_follow_their_filters_and_ignore_the_sign(score, count, seed):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(count, 2, 3, 3, generator=generator)
    order = torch.randperm(count, generator=generator)
    assert torch.allclose(score(seen(weight[order])), score(seen(weight))[order], rtol=1e-4)
    assert torch.allclose(score(seen(-weight)), score(seen(weight)), rtol=1e-4)


@pytest.fixture
def plain():
    """No coupling beyond one reader a layer, so that other tools' groups agree with ours."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)
        ).eval()


EXAMPLE = torch.zeros(2, 3, 8, 8)


def expected_scores(map: torch.Tensor, grad: torch.Tensor) -> dict[str, torch.Tensor]:
    """The four scores of feature maps, written out once more from the papers; (examples, channels, h, w)."""
    count = map.shape[1]
    without = torch.stack([map.flatten(2)[:, torch.arange(count) != c] for c in range(count)])
    drop = torch.linalg.matrix_norm(map.flatten(2), "nuc") - torch.linalg.matrix_norm(without, "nuc")
    taylor = (map * grad).mean((2, 3)).abs().mean(0)
    return {
        "hrank": torch.linalg.matrix_rank(map).float().mean(0),
        "apoz": (map > 0).float().mean((0, 2, 3)),
        "chip": drop.mean(1),
        "taylor-activation": taylor / taylor.norm(),
    }


def scores_of(net, method, batches):
    coupling, row = trace(net, EXAMPLE), find(method)
    return channels.score_groups(row.score, channels.collect(net, coupling, row.needs, batches))


@pytest.mark.parametrize("method", ["hrank", "apoz", "chip", "taylor-activation"])
def test_maps_are_read_after_norm_and_relu_and_before_pooling(method, batches):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 5, 3, padding=1),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 4),
    ).eval()
    (x, y), *_ = batches
    first = net[:3](x)
    second = net[4:7](net[3](first))
    grads = torch.autograd.grad(nn.functional.cross_entropy(net[7:](second), y), [first, second])
    found = scores_of(net, method, batches[:1])
    for name, map, grad in (("0", first, grads[0]), ("4", second, grads[1])):
        assert torch.allclose(found[name], expected_scores(map.detach(), grad)[method], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["hrank", "apoz", "chip", "taylor-activation"])
def test_a_residual_stream_is_scored_by_all_its_layers(method, net, batches):
    (x, y), *_ = batches
    stem = net.stem(x)
    block = (stem + net.bn2(net.conv2(net.bn1(net.conv1(stem)).relu()))).relu()
    grads = torch.autograd.grad(nn.functional.cross_entropy(net.head(block.mean((2, 3))), y), [stem, block])
    parts = [expected_scores(m.detach(), g)[method] for m, g in zip((stem, block), grads, strict=True)]
    found = scores_of(net, method, batches[:1])["stem.0"]
    assert torch.allclose(found, sum(parts) / 2, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found, parts[0], rtol=1e-2)


def test_maps_of_a_dense_block_are_read_behind_the_concatenation(batches):
    net = build("densenet-small", 4, (3, 8, 8)).eval()
    x, _ = batches[0]
    read = net[2][1](net[2][0](net[1](net[0](x))))
    expected = (read[:, 24:] > 0).float().mean((0, 2, 3))
    found = scores_of(net, "apoz", batches[:1])
    assert torch.allclose(found["1.2"], expected, atol=1e-6)


@pytest.mark.parametrize("layer", ["0", "2"])
@pytest.mark.parametrize("power", [1, 2])
def test_norms_agree_with_torch_pruning(plain, layer, power):
    pruning = pytest.importorskip("torch_pruning")
    importance = pruning.importance.MagnitudeImportance(p=power, group_reduction="first", normalizer=None)
    oracle = importance(_their_group(pruning, plain, layer))
    score = filters.l1_filter if power == 1 else filters.l2_filter
    ours = channels.score_groups(score, channels.collect(plain, trace(plain, EXAMPLE)))[layer]
    assert torch.allclose(ours**power, oracle, rtol=1e-5)


@pytest.mark.parametrize("layer", ["0", "2"])
def test_fpgm_agrees_with_torch_pruning(plain, layer):
    pruning = pytest.importorskip("torch_pruning")
    for parameter in plain.parameters():
        parameter.data.abs_()  # their distances are between |w|
    importance = pruning.importance.FPGMImportance(p=1, group_reduction="first", normalizer=None)
    oracle = importance(_their_group(pruning, plain, layer))
    ours = channels.score_groups(filters.fpgm, channels.collect(plain, trace(plain, EXAMPLE)))[layer]
    assert torch.allclose(ours, oracle, rtol=1e-4)


def _their_group(pruning, net, layer):
    graph = pruning.DependencyGraph().build_dependency(net, EXAMPLE)
    module = net.get_submodule(layer)
    return graph.get_pruning_group(
        module, pruning.prune_conv_out_channels, idxs=list(range(module.out_channels))
    )


def test_taylor_filter_sums_before_squaring(plain):
    batches = [
        (torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(s)), torch.arange(4)) for s in (1, 2)
    ]
    found = channels.collect(plain, trace(plain, EXAMPLE), ("filter_saliency",), batches)
    expected = torch.zeros(6)
    for x, y in batches:
        (grad,) = torch.autograd.grad(nn.functional.cross_entropy(plain(x), y), plain[0].weight)
        expected += (grad * plain[0].weight).sum((1, 2, 3)).square() / 2
    assert torch.allclose(filters.taylor_filter(found["0"][0]), expected, rtol=1e-4)


def test_b26_coupled_filters_keep_the_same_19_of_64():
    class Residual(nn.Module):
        def __init__(self, layers):
            super().__init__()
            self.layers = nn.ModuleList(layers)

        def forward(self, x):
            x = self.layers[0](x)
            for layer in self.layers[1:3]:
                x = (x + layer(x)).relu()
            return self.layers[3](x.mean((2, 3)))

    net = Residual(
        [
            nn.Conv2d(3, 64, 3, padding=1),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.Linear(64, 10),
        ]
    )
    rank = torch.arange(64.0).view(64, 1, 1, 1)
    for layer, order in ((1, rank), (2, rank.flip(0))):  # branches of opposite rankings
        net.layers[layer].weight.data.copy_(order.expand(64, 64, 3, 3))
    (group,) = (coupling := trace(net, torch.zeros(1, 3, 8, 8))).groups
    assert set(group.producers) == {"layers.0", "layers.1", "layers.2"}
    scores = channels.score_groups(filters.l1_filter, channels.collect(net, coupling))
    assert int(select(scores, 0.3, minimum=1)[group.name].sum()) == 45
