"""Channel and head methods: scores, reconstruction, search, rules that train; by hand and by oracle."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso, LinearRegression
from torch import nn
from torch.nn import functional as F

import survey_lib
from survey_lib import prune
from survey_lib.catalogue import find
from survey_lib.chain import channels
from survey_lib.chain.coupling import ChannelGroup, Slice, group_masks, trace
from survey_lib.chain.evidence.base import Consumer, Evidence
from survey_lib.chain.masks import masked_copy
from survey_lib.experiment.networks.language import Llama, Shape
from survey_lib.methods.channel import reconstruction
from survey_lib.methods.channel import scores as channel
from survey_lib.methods.channel import training as channel_training
from survey_lib.methods.depth_and_heads import scores as transformer
from survey_lib.steps.channels import Ranking
from survey_lib.steps.request import Request
from survey_lib.steps.structured import accuracy, structure

EXAMPLE = torch.zeros(2, 3, 8, 8)


def choose(net, method, sparsity=0.5, batches=None, scope=None, seed=0):
    coupling, row = trace(net, EXAMPLE), find(method)
    request = Request(row, sparsity, scope or row.scope, batches=batches, seed=seed)
    ranking = Ranking(net, coupling, coupling.groups, request)
    if row.search:
        ranking.search(sparsity)
    return ranking.repaired(ranking.at(sparsity))


# scores


def test_slimming_is_the_mean_absolute_scale():
    gamma = torch.tensor([[1.0, -2.0, 0.0], [-3.0, 2.0, 0.5]])
    assert channel.slimming(Evidence("g", torch.zeros(3, 1), gamma=gamma)).tolist() == [2.0, 2.0, 0.25]


def test_group_norm_has_mean_one_and_zeros_stay_zero():
    energy = torch.tensor([25.0, 25.0, 50.0])
    score = channel.group_norm(Evidence("g", torch.zeros(3, 1), energy=energy))
    assert score.tolist() == pytest.approx([0.75, 0.75, 1.5])
    assert channel.group_norm(Evidence("g", torch.zeros(3, 1), energy=energy * 0)).tolist() == [0.0] * 3


def test_group_norm_agrees_with_torch_pruning_on_a_residual_network(net):
    pruning = pytest.importorskip("torch_pruning")
    graph = pruning.DependencyGraph().build_dependency(net, EXAMPLE)
    ours = channels.score_groups(channel.group_norm, channels.collect(net, trace(net, EXAMPLE), ("energy",)))
    for name, layer in (("stem.0", net.stem[0]), ("conv1", net.conv1)):
        group = graph.get_pruning_group(layer, pruning.prune_conv_out_channels, idxs=list(range(8)))
        oracle = pruning.importance.GroupMagnitudeImportance(p=2)(group)
        assert torch.allclose(ours[name], oracle, rtol=1e-5)


def test_head_gradient_and_ffn_channel_by_hand():
    heads = Evidence("h", torch.zeros(2, 1), gate_grad=torch.tensor([6.0, 8.0]))
    assert transformer.head_gradient(heads).tolist() == pytest.approx([0.6, 0.8])
    slices, grads = torch.tensor([[1.0, -2.0], [0.5, 4.0]]), torch.tensor([[3.0, 1.0], [-2.0, 0.0]])
    assert transformer.ffn_channel(Evidence("f", slices, slices=slices, slices_grad=grads)).tolist() == [
        5.0,
        1.0,
    ]


# scopes and search


def test_b17_a_global_ranking_leaves_one_channel_in_every_group():
    widths, scales = (4, 8, 4), (1.0, 1e-3, 1.0)
    layers, inputs = [], 3
    for width, scale in zip(widths, scales, strict=True):
        norm = nn.BatchNorm2d(width)
        nn.init.constant_(norm.weight, scale)
        layers, inputs = [*layers, nn.Conv2d(inputs, width, 3, padding=1, bias=False), norm, nn.ReLU()], width
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    _, keep = choose(net, "slimming", 0.5)
    assert [int(mask.sum()) for mask in keep.values()] == [
        3,
        1,
        4,
    ]  # 8 of 16 go: 7 of stage two, 1 of stage one
    _, keep = choose(net, "slimming", 0.99)
    assert [int(mask.sum()) for mask in keep.values()] == [1, 1, 1]


def test_isomorphic_ranks_the_same_structures_together():
    def stage(inputs, width):
        return [nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]

    net = nn.Sequential(
        *stage(3, 4), *stage(4, 8), *stage(8, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    ).eval()
    first, second, third = trace(net, EXAMPLE).groups
    assert (
        structure(net, first) == structure(net, second) != structure(net, third)
    )  # the third feeds a Linear
    _, keep = choose(net, "isomorphic", 0.5)
    assert int(keep[first.name].sum() + keep[second.name].sum()) == 6 and int(keep[third.name].sum()) == 2


def test_isomorphic_divides_by_the_mean_of_the_group():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 1, bias=False),
        nn.ReLU(),
        nn.Conv2d(4, 4, 1, bias=False),
        nn.ReLU(),
        nn.Conv2d(4, 4, 1, bias=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    ).eval()
    for index, scale in ((0, 1.0), (2, 0.0), (4, 10.0)):  # the two alike: rows of 0 alone, columns of 4 alone
        net[index].weight.data.fill_(scale)
    net[0].weight.data.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1, 1).expand(4, 3, 1, 1))
    net[4].weight.data.copy_(torch.tensor([10.0, 20.0, 30.0, 40.0]).view(1, 4, 1, 1).expand(4, 4, 1, 1))
    _, keep = choose(net, "isomorphic", 0.5)
    assert (
        keep["0"].tolist() == keep["2"].tolist() == [False, False, True, True]
    )  # undivided, all of 2 would stay


def test_eagleeye_meets_the_budget_and_takes_the_best_candidate():
    asked = []

    def judge(ratios):
        asked.append(ratios)
        return ratios["b"]

    best = channel.eagleeye({"a": 10, "b": 30, "c": 2}, 0.5, judge, seed=1)
    assert len(asked) == channel.CANDIDATES and best["b"] == max(r["b"] for r in asked)
    for ratios in asked:
        assert 10 * ratios["a"] + 30 * ratios["b"] + 2 * ratios["c"] == pytest.approx(21)
        assert all(0 <= ratios[n] * size <= size - 1 + 1e-9 for n, size in (("a", 10), ("b", 30), ("c", 2)))
    again = channel.eagleeye({"a": 10, "b": 30, "c": 2}, 0.5, judge, seed=1)
    assert again == best


def test_eagleeye_on_a_network_is_exact_seeded_and_needs_data(net, batches):
    _, keep = choose(net, "eagleeye", 0.5, batches)
    _, again = choose(net, "eagleeye", 0.5, batches)
    assert sum(int(mask.sum()) for mask in keep.values()) == 8
    assert all(torch.equal(keep[name], again[name]) for name in keep)
    for data in (None, batches[:1]):
        with pytest.raises(ValueError, match="others judge: pass at least two"):
            choose(net, "eagleeye", 0.5, data)


def test_eagleeye_judges_on_batches_that_set_no_statistics(net):
    generator = torch.Generator().manual_seed(0)
    batches = [
        (3 * torch.randn(20, 3, 8, 8, generator=generator) + i, torch.arange(20) % 4) for i in range(4)
    ]
    coupling, fractions = trace(net, EXAMPLE), {"stem.0": 0.25, "conv1": 0.5}
    request = Request(find("eagleeye"), 0.5, "layerwise", batches=batches)
    ranking = Ranking(net, coupling, coupling.groups, request)
    found, scores = accuracy(ranking, 0.5, fractions), ranking.scores
    keep = {name: score > score.sort().values[int(fractions[name] * 8) - 1] for name, score in scores.items()}
    candidate = masked_copy(net, group_masks(net, coupling, keep))
    for norm in (candidate.stem[1], candidate.bn1, candidate.bn2):
        norm.reset_running_stats()
        norm.train().momentum = None
    with torch.no_grad():
        for x, _ in batches[::2]:
            candidate(x)
        answers = torch.cat([candidate.eval()(x).argmax(1) == y for x, y in batches[1::2]])
    assert found == pytest.approx(answers.float().mean().item())


# reconstruction


@pytest.fixture
def problem():
    """Six channels of 2 columns, 3 outputs, 50 positions: inputs X (50, 12), weights W (12, 3)."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(12, 12, generator=generator, dtype=torch.float64)
    x = torch.randn(50, 12, generator=generator, dtype=torch.float64) @ mixing
    weight = torch.randn(6, 2, 3, generator=generator, dtype=torch.float64)
    return x, weight, Evidence("g", torch.zeros(6, 1), consumers=(consumer(weight, x),))


def consumer(weight, x, dense=None, bias=False):
    """A reader that sees `x` (positions, columns) and saw `dense` before anything was pruned."""
    dense = x if dense is None else dense
    return Consumer(
        "next.weight", weight, x.mT @ x, x.mT @ dense, bias * x.mean(0), bias * dense.mean(0), len(x)
    )


def output(x, weight, keep=None):
    kept = weight if keep is None else weight * keep.view(-1, 1, 1)
    return x @ kept.reshape(-1, kept.shape[-1])


def test_contributions_are_inner_products_of_single_channels(problem):
    x, weight, evidence = problem
    single = torch.stack([output(x, weight, torch.eye(6, dtype=torch.bool)[c]).flatten() for c in range(6)])
    found = reconstruction.contributions(evidence.consumers[0])
    assert torch.allclose(found, single @ single.mT)


@pytest.mark.parametrize("removed", [1, 2, 3, 5])
def test_thinet_takes_the_best_channel_at_each_step(problem, removed):
    x, weight, evidence = problem
    keep, _ = reconstruction.thinet(evidence, removed)
    expected = torch.ones(6, dtype=torch.bool)
    for _ in range(removed):  # brute force: the output itself, for every candidate
        errors = {}
        for candidate in expected.nonzero().flatten().tolist():
            trial = expected.clone()
            trial[candidate] = False
            errors[candidate] = (output(x, weight) - output(x, weight, trial)).square().sum().item()
        expected[min(errors, key=errors.get)] = False
    assert torch.equal(keep, expected)
    if removed == 1:  # then greedy is the best of all subsets
        subsets = itertools.combinations(range(6), 5)
        masks = [torch.tensor([c in subset for c in range(6)]) for subset in subsets]
        best = min(masks, key=lambda m: (output(x, weight) - output(x, weight, m)).square().sum().item())
        assert torch.equal(keep, best)


def test_thinet_rescales_to_the_output_of_the_network_pruned_so_far(problem):
    x, weight, _ = problem
    reader = consumer(weight, x, dense=x.flip(0))  # what the dense network read must not matter
    keep, repaired = reconstruction.thinet(Evidence("g", torch.zeros(6, 1), consumers=(reader,)), 2)
    single = torch.stack(
        [output(x, weight, torch.eye(6, dtype=torch.bool)[c]).flatten() for c in range(6)], 1
    )
    scale = torch.linalg.lstsq(single[:, keep], output(x, weight).flatten()).solution
    assert torch.allclose(repaired["next.weight"][keep], weight[keep] * scale.view(-1, 1, 1), rtol=1e-5)
    assert not repaired["next.weight"][~keep].any()


@pytest.mark.parametrize("removed", [1, 3, 5])
def test_lasso_agrees_with_scikit_learn(problem, removed):
    x, weight, evidence = problem
    single = torch.stack(
        [output(x, weight, torch.eye(6, dtype=torch.bool)[c]).flatten() for c in range(6)], 1
    ).numpy()
    target = single.sum(1)
    low, high = 0.0, abs(single.T @ target).max() / len(target)
    for _ in range(60):  # bisection on λ, as in the reference implementation
        middle = (low + high) / 2
        chosen = (
            Lasso(middle, fit_intercept=False, max_iter=100_000, tol=1e-10).fit(single, target).coef_ != 0
        )
        low, high = (middle, high) if chosen.sum() > 6 - removed else (low, middle)
    chosen = Lasso(high, fit_intercept=False, max_iter=100_000, tol=1e-10).fit(single, target).coef_ != 0
    keep, repaired = reconstruction.lasso(evidence, removed)
    assert chosen.sum() == 6 - removed and keep.tolist() == chosen.tolist()
    columns = keep.repeat_interleave(2)
    refit = LinearRegression(fit_intercept=False).fit(x[:, columns].numpy(), output(x, weight).numpy()).coef_
    assert torch.allclose(
        repaired["next.weight"][keep].flatten(0, 1).mT, torch.tensor(refit), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("removed", [1, 3, 5])
def test_lasso_with_intercept_takes_inputs_of_the_pruned_and_targets_of_the_dense_network(problem, removed):
    dense, weight, _ = problem
    dense = dense + 3  # means that an intercept explains
    x = dense + torch.randn(dense.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    keep, repaired = reconstruction.lasso(
        Evidence("g", weight, consumers=(consumer(weight, x, dense, True),)), removed
    )
    single = torch.stack([output(x, weight, torch.eye(6, dtype=torch.bool)[c]) for c in range(6)], 2)
    single = (single - single.mean(0)).flatten(0, 1).numpy()  # an intercept for each of the outputs
    goal = output(dense, weight)
    centred = (goal - goal.mean(0)).flatten().numpy()
    paths = [
        Lasso(a, fit_intercept=False, max_iter=100_000, tol=1e-10).fit(single, centred).coef_ != 0
        for a in abs(single.T @ centred).max() / len(centred) * 0.97 ** torch.arange(400.0).numpy()
    ]
    chosen = [kept.tolist() for kept in paths if kept.sum() == 6 - removed]
    assert keep.tolist() == chosen[-1]
    fit = LinearRegression().fit(x[:, keep.repeat_interleave(2)].numpy(), goal.numpy())
    assert torch.allclose(
        repaired["next.weight"][keep].flatten(0, 1).mT, torch.tensor(fit.coef_), rtol=1e-4, atol=1e-6
    )
    assert torch.allclose(repaired["next.bias"], torch.tensor(fit.intercept_), rtol=1e-4, atol=1e-5)


def test_lasso_goes_from_layer_to_layer():
    torch.manual_seed(0)
    net = (
        nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)).double().eval()
    )
    x = torch.randn(200, 5, dtype=torch.float64)
    result = prune(net, "lasso", 0.5, example=x[:2], batches=[(x, torch.zeros(200).long())], cut=False)
    small, first, second = result.model, result.masks["0.bias"], result.masks["2.bias"]
    before = small[:2](x)[:, first].detach()  # what the repaired middle layer read when it was fitted
    goal = net[2](net[:2](x)).detach()
    fit = LinearRegression().fit(before.numpy(), goal.numpy())
    assert torch.allclose(
        small[2].weight[second][:, first], torch.tensor(fit.coef_)[second], rtol=1e-5, atol=1e-7
    )
    after = small[:4](x)[:, second].detach()  # of the pruned network, not of the dense one
    fit = LinearRegression().fit(after.numpy(), net(x).detach().numpy())
    assert torch.allclose(small[4].weight[:, second], torch.tensor(fit.coef_), rtol=1e-5, atol=1e-7)
    assert torch.allclose(small[4].bias, torch.tensor(fit.intercept_), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("method", ["thinet", "lasso"])
def test_duplicates_and_dead_channels_are_repaired_without_loss(method):
    solve = find(method).solve
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 4, generator=generator)
    x[:, 1], x[:, 3] = x[:, 0], 0  # channel 1 repeats channel 0, channel 3 is dead
    weight = torch.randn(4, 1, 2, generator=generator)
    weight[1] = weight[0] * 0.5
    keep, repaired = solve(Evidence("g", weight, consumers=(consumer(weight, x.double()),)), 2)
    assert keep.tolist() in ([True, False, True, False], [False, True, True, False])
    assert torch.allclose(output(x, repaired["next.weight"], keep), output(x, weight), atol=1e-4)


@pytest.mark.parametrize(("method", "gain"), [("thinet", 1.0), ("lasso", 0.9)])
def test_reconstruction_beats_the_bare_cut_on_a_network(method, gain, net, batches):
    result = prune(net, method, 0.5, example=EXAMPLE, batches=batches, layers=["conv1"], cut=False)
    x, keep = torch.cat([x for x, _ in batches]), result.masks["conv1.bias"]
    inner = net.bn1(net.conv1(net.stem(x))).relu()
    outputs = [m.conv2(inner * keep.view(1, -1, 1, 1)) for m in (net, result.model)]
    error = [(output - net.conv2(inner)).square().sum() for output in outputs]
    assert error[1] < gain * error[0] and int(keep.sum()) == 4


# rules that train


def trained(net, batches, method, steps=4, sparsity=0.5, lr=0.1):
    optimizer = torch.optim.SGD(net.train().parameters(), lr=lr, momentum=0.9)
    session = survey_lib.during(net, method, sparsity, optimizer, steps, example=EXAMPLE)
    for step in range(steps):
        x, y = batches[step % len(batches)]
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    return session.finish()


@pytest.mark.parametrize("method", ["sfp", "greg", "slimming", "group-lasso", "depgraph"])
def test_sessions_end_with_the_asked_channels_zero_and_a_later_ranking_finds_the_same(method, net, batches):
    masks = trained(net, batches, method)
    kept = int(masks["conv1.bias"].sum()) + int(masks["conv2.bias"].sum())
    assert kept == 8 and all(not net.state_dict()[name][~mask].any() for name, mask in masks.items())
    _, keep = choose(net.eval(), find(method).ranking or method)
    assert torch.equal(keep["conv1"], masks["conv1.bias"]) and torch.equal(
        keep["stem.0"], masks["conv2.bias"]
    )


def test_sessions_need_an_example_to_trace(net):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="give example=an input"):
        survey_lib.during(net, "sfp", 0.5, optimizer, 4)


def test_soft_filters_are_zeroed_and_grow_back(net, batches):
    net.bn1.bias.data.fill_(1)  # behind a negative shift the ReLU would give a zeroed filter no gradient
    optimizer = torch.optim.SGD(net.train().parameters(), lr=0.1)
    session = survey_lib.during(net, "sfp", 0.5, optimizer, 40, example=EXAMPLE)
    zeros = [int((net.conv1.weight.flatten(1).norm(dim=1) == 0).sum())]
    for step in range(4):
        x, y = batches[step % 2]
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
        zeros.append(int((net.conv1.weight.flatten(1).norm(dim=1) == 0).sum()))
    assert zeros == [
        4,
        0,
        4,
        0,
        4,
    ]  # before training, then every second of 40 steps; the step between lets all come back
    assert session.masks == {}


def test_slimming_adds_the_subgradient_to_every_scale(net, batches):
    net.bn1.weight.data[0] = -1
    rule = channel_training.Slimming(net, 0.5, 1, example=EXAMPLE)
    x, y = batches[0]
    F.cross_entropy(net(x), y).backward()
    before = [net.bn1.weight.grad.clone(), net.conv1.weight.grad.clone()]
    rule.before(0, None)
    assert torch.allclose(net.bn1.weight.grad - before[0], 1e-4 * net.bn1.weight.sign(), atol=1e-7)
    assert torch.equal(net.conv1.weight.grad, before[1])


def test_slimming_starts_the_scales_of_an_untrained_network_at_one_half(net):
    trained_scales = net.bn1.weight.detach().clone()
    channel_training.Slimming(net, 0.5, 1, example=EXAMPLE)
    assert torch.equal(net.bn1.weight, trained_scales)
    for norm in (net.stem[1], net.bn1, net.bn2):
        norm.reset_parameters()
    channel_training.Slimming(net, 0.5, 1, example=EXAMPLE)
    assert all((norm.weight == 0.5).all() for norm in (net.stem[1], net.bn1, net.bn2))


def test_group_lasso_adds_the_gradient_of_the_sum_of_channel_norms(net):
    net.zero_grad()
    sum(p.sum() * 0 for p in net.parameters()).backward()
    channel_training.GroupLasso(net, 0.5, 1, example=EXAMPLE).before(0, None)
    ours = {name: p.grad.clone() for name, p in net.named_parameters()}
    net.zero_grad()
    found = [
        net.conv1.weight.flatten(1),
        net.bn1.weight[:, None],
        net.conv2.weight.transpose(0, 1).flatten(1),
    ]
    (1e-3 * torch.cat(found, 1).norm(dim=1).sum()).backward()
    assert torch.allclose(ours["bn1.weight"], net.bn1.weight.grad, rtol=1e-4)
    columns = net.conv2.weight.grad
    trunk = [
        net.stem[0].weight.flatten(1),
        net.stem[1].weight[:, None],
        net.bn2.weight[:, None],
        net.conv1.weight.transpose(0, 1).flatten(1),
        net.conv2.weight.flatten(1),
        net.head.weight.mT,
    ]
    (1e-3 * torch.cat(trunk, 1).norm(dim=1).sum()).backward()
    assert columns is net.conv2.weight.grad  # the two groups' gradients add up in the kernel they share
    assert torch.allclose(ours["conv2.weight"], net.conv2.weight.grad, rtol=1e-4, atol=1e-9)


def test_depgraph_pulls_the_smallest_channel_16_times_as_hard_as_the_largest():
    # channel c of the hidden layer: row c of the first weight and column c of the second; norms 5, 3 and 1
    net = nn.Sequential(nn.Linear(1, 3, bias=False), nn.Linear(3, 1, bias=False))
    net[0].weight.data = torch.tensor([[3.0], [3.0], [0.0]])
    net[1].weight.data = torch.tensor([[4.0, 0.0, 1.0]])
    for weight in (net[0].weight, net[1].weight):
        weight.grad = torch.zeros_like(weight)
    channel_training.GroupSparsity(net, 0.5, 1, example=torch.ones(1, 1)).before(0, None)
    assert torch.allclose(net[0].weight.grad, 5e-4 * torch.tensor([[3.0], [4 * 3.0], [0.0]]))
    assert torch.allclose(net[1].weight.grad, 5e-4 * torch.tensor([[4.0, 0.0, 16.0]]))


def test_greg_schedule_and_its_penalty_only_on_the_chosen_filters(net):
    assert [channel_training.growing(step, 400) for step in (0, 9, 10, 150, 300, 399)] == pytest.approx(
        [0, 0, 10 / 300, 0.5, 1, 1]
    )
    rule = channel_training.GrowingRegularisation(net, 0.5, 40, example=EXAMPLE)
    sum(p.sum() * 0 for p in net.parameters()).backward()
    rule.before(39, None)
    chosen = ~rule.keep["conv1"]
    assert torch.equal(net.conv1.weight.grad[chosen], net.conv1.weight[chosen])
    assert not net.conv1.weight.grad[~chosen].any() and not net.bn1.weight.grad.any()
    lowest = net.conv1.weight.abs().sum((1, 2, 3)).topk(4, largest=False).indices
    assert sorted(chosen.nonzero().flatten().tolist()) == sorted(lowest.tolist())


# heads and hidden channels of a Llama-architecture model


@pytest.fixture
def llama():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Llama(Shape(dim=16, hidden=12, layers=2, heads=4, kv_heads=2, vocab=20, context=16)).eval()


@pytest.fixture
def texts():
    generator = torch.Generator().manual_seed(0)
    return [tuple(torch.randint(20, (2, 6), generator=generator) for _ in range(2)) for _ in range(2)]


def token_loss(output, y):
    return F.cross_entropy(output.flatten(0, 1), y.flatten())


def test_methods_find_their_groups_and_grouped_queries_stay_whole(llama, texts):
    groups = trace(llama, texts[0][0]).groups
    heads = [group for group in groups if transformer.is_heads(group, llama)]
    assert [group.name for group in heads] == [f"blocks.{i}.attention.query" for i in range(2)]
    assert all(group.size == 2 for group in heads)  # two key/value heads, each with two query heads
    hidden = [group.name for group in groups if transformer.is_hidden(group, llama)]
    assert hidden == [f"blocks.{i}.feed_forward.gate" for i in range(2)]


def test_groups_of_a_convolution_are_no_heads(batches):
    net = nn.Sequential(
        nn.Conv2d(3, 8, 1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=4),
        nn.ReLU(),
        nn.Conv2d(8, 4, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 4),
    ).eval()
    with pytest.raises(ValueError, match="2: not what head-gradient prunes"):
        prune(net, "head-gradient", 0.5, example=EXAMPLE, batches=batches)


def test_a_gate_is_one_number_an_example_so_tokens_may_cancel():
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.Linear(2, 1, bias=False)

        def forward(self, x):
            return self.out(x)

    net = Head()
    net.out.weight.data.fill_(1.0)
    columns = Slice("out.weight", 1, np.array([[0], [1]]))
    group = ChannelGroup("heads", 2, (columns,), (), (columns,))
    x = torch.tensor([[[1.0, 1.0], [-1.0, 2.0]]])  # one example, two tokens, two heads: sums 0 and 3
    found = channels.gate_grad(
        channels.Subject(net, net, (group,), [(x, torch.zeros(1))], lambda o, y: o.sum(), 0)
    )
    assert found["heads"].tolist() == [0.0, 3.0]


def test_gate_gradients_of_heads_agree_with_gates_put_into_the_network(llama, texts):
    coupling = trace(llama, texts[0][0])
    found = channels.collect(llama, coupling, ("gate_grad",), texts, token_loss)
    for name in ("blocks.0", "blocks.1"):
        gate, total = torch.ones(2, requires_grad=True), torch.zeros(2)
        layer = llama.get_submodule(f"{name}.attention.output")
        handle = layer.register_forward_pre_hook(lambda _, x: x[0] * gate.repeat_interleave(8))  # noqa: B023
        for x, y in texts:
            for i in range(2):
                total += torch.autograd.grad(token_loss(llama(x[i : i + 1]), y[i : i + 1]), gate)[0].abs() / 4
        handle.remove()
        assert torch.allclose(found[f"{name}.attention.query"][0].gate_grad, total, rtol=1e-4)


def test_ffn_channel_reads_gate_up_and_down(llama, texts):
    block = llama.blocks[0].feed_forward
    found = channels.collect(llama, trace(llama, texts[0][0]), ("slices", "slices_grad"), texts, token_loss)
    score = transformer.ffn_channel(found["blocks.0.feed_forward.gate"][0])
    (sum(token_loss(llama(x), y) for x, y in texts) / 2).backward()
    gate, up, down = ((p.grad * p).abs() for p in (block.gate.weight, block.up.weight, block.down.weight))
    assert torch.allclose(score, gate.sum(1) + up.sum(1) + down.sum(0), rtol=1e-4)


def test_llm_pruner_takes_the_same_share_of_heads_and_hidden_channels(llama, texts):
    result = prune(llama, "llm-pruner", 0.5, example=texts[0][0], batches=texts, loss=token_loss)
    kept = result.report.groupby("group")["kept"].first().to_dict()
    assert kept == {
        f"blocks.{i}.{name}": count
        for i in range(2)
        for name, count in (("attention.query", 1), ("feed_forward.gate", 6))
    }


def test_llm_pruner_scores_a_head_by_all_that_is_cut_with_it(llama, texts):
    found = channels.collect(llama, trace(llama, texts[0][0]), ("slices", "slices_grad"), texts, token_loss)
    sum(token_loss(llama(x), y) / 2 for x, y in texts).backward()
    part = llama.blocks[0].attention
    product = {name: (layer.weight * layer.weight.grad).abs() for name, layer in part.named_children()}
    expected = [
        product["query"][8 * h : 8 * h + 8].sum()
        + product["output"][:, 8 * h : 8 * h + 8].sum()
        + product["key"][4 * h : 4 * h + 4].sum()
        + product["value"][4 * h : 4 * h + 4].sum()
        for h in range(2)
    ]
    score = transformer.ffn_channel(found["blocks.0.attention.query"][0])
    assert torch.allclose(score, torch.stack(expected), rtol=1e-4)


@pytest.mark.parametrize("bias", [True, False])
def test_flap_removes_a_channel_that_never_changes_without_any_loss(bias, tmp_path):
    """Hidden channel 2 of four has no input weights: it is always its bias, and the next bias takes its mean over."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 2, bias=bias))
    net[0].weight.data[2], net[0].bias.data[2] = 0, 1.5
    x = torch.randn(50, 3)
    result = prune(net, "flap", 0.25, example=x[:2], batches=[(x, torch.zeros(50).long())])
    assert result.masks["0.bias"].tolist() == [True, True, False, True]
    assert torch.allclose(result.model(x), net(x), atol=1e-6)
    survey_lib.save(result, tmp_path / "slim.safetensors")
    fresh = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 2, bias=bias))
    assert torch.equal(survey_lib.load(tmp_path / "slim.safetensors", fresh).model(x), result.model(x))


def test_flap_keeps_the_mean_of_what_each_reader_writes(llama, texts):
    result = prune(llama, "flap", 0.5, example=texts[0][0], batches=texts, loss=token_loss)
    seen = {}
    for name, model in (("dense", llama), ("pruned", result.model)):
        layer = model.blocks[0].attention.output
        handle = layer.register_forward_hook(lambda _, x, y, name=name: seen.setdefault(name, []).append(y))
        for x, _ in texts:
            model(x)
        handle.remove()
    means = [torch.cat(seen[name]).flatten(0, 1).mean(0) for name in ("dense", "pruned")]
    assert torch.allclose(*means, atol=1e-6)  # the first reader, before any other part was cut
    assert result.model.blocks[0].attention.output.bias is not None


def test_minitron_by_hand_two_texts_of_two_tokens():
    """Channel 0 reads |1|, |-3| and 0, 4: means 2 and 2, root of 8. Channel 1 reads 1, 1 and 2, 2: root of 1 + 4."""
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Identity(), nn.Linear(2, 1, bias=False))
    net[0].weight.data = torch.eye(2)
    x = torch.tensor([[[1.0, 1.0], [-3.0, 1.0]], [[0.0, 2.0], [4.0, 2.0]]])
    found = channels.collect(net, trace(net, x), ("consumers",), [x[:1], x[1:]])
    assert torch.allclose(transformer.minitron(found["0"][0]), torch.tensor([8.0, 5.0]).double().sqrt())


def test_minitron_of_heads_and_of_the_embedding_agrees_with_hooks(llama, texts):
    """A head: the norm over its eight inputs of the output layer. The embedding: attention norm read by three layers,
    feed-forward norm by two; the final norm is read by the embedding itself, which is tied."""
    readers = {
        f"blocks.{i}.{name}": count
        for i in range(2)
        for name, count in (("attention_norm", 3), ("feed_forward_norm", 2))
    }
    seen = {name: [] for name in (*readers, "blocks.1.attention.output")}
    for name in readers:
        llama.get_submodule(name).register_forward_hook(lambda _, x, y, name=name: seen[name].append(y))
    last = llama.blocks[1].attention.output
    last.register_forward_pre_hook(lambda _, x: seen["blocks.1.attention.output"].append(x[0]))
    for x, _ in texts:
        llama(x)
    level = {name: torch.cat(parts).abs().mean(1).square().sum(0).sqrt() for name, parts in seen.items()}
    for module in llama.modules():
        module._forward_hooks.clear(), module._forward_pre_hooks.clear()
    found = channels.collect(llama, trace(llama, texts[0][0]), ("consumers",), texts)
    heads = transformer.minitron(found["blocks.1.attention.query"][0]).float()
    assert torch.allclose(heads, level["blocks.1.attention.output"].view(2, 8).norm(dim=1), rtol=1e-4)
    trunk = transformer.minitron(found["embedding"][0]).float()
    assert torch.allclose(trunk, sum(count * level[name] for name, count in readers.items()), rtol=1e-4)


def test_minitron_prunes_the_parts_that_are_named(llama, texts):
    def kept(**wishes):
        result = prune(llama, "minitron", 0.5, example=texts[0][0], batches=texts, loss=token_loss, **wishes)
        return result.report.groupby("group")["kept"].first().to_dict()

    inner = {
        f"blocks.{i}.{name}": count
        for i in range(2)
        for name, count in (("attention.query", 1), ("feed_forward.gate", 6))
    }
    assert kept() == inner | {"embedding": 8}
    assert kept(protect=["embedding"]) == inner


def test_a_tied_embedding_is_scored_by_its_own_columns(llama, texts):
    trunk = channels.collect(llama, trace(llama, texts[0][0]))["embedding"]
    assert torch.equal(trunk[0].weight, llama.embedding.weight.detach().mT)
