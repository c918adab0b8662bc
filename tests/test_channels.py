"""Evidence of channel groups, against values computed by hand and by autograd."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from survey_lib.chain import channels
from survey_lib.chain.coupling import ChannelGroup, Coupling, Slice
from survey_lib.chain.evidence.base import Evidence

NEEDS = (
    "grad",
    "grad_sq",
    "example_grad_sq",
    "filter_saliency",
    "gamma",
    "slices",
    "slices_grad",
    "gate_grad",
    "act_out",
    "act_grad",
    "consumers",
)


def piece(tensor: str, dim: int, size: int, k: int = 1) -> Slice:
    return Slice(tensor, dim, np.arange(size * k).reshape(size, k))


def group(producers, consumers, others, size) -> ChannelGroup:
    out = tuple(piece(f"{name}.weight", 0, size) for name in producers)
    return ChannelGroup(
        producers[0],
        size,
        (*out, *(piece(name, 0, size) for name in others), *consumers),
        tuple(producers),
        tuple(consumers),
    )


@pytest.fixture
def coupling() -> Coupling:
    """The two groups of ResidualNet, by hand."""
    norm = [f"stem.1.{name}" for name in ("weight", "bias", "running_mean", "running_var")]
    trunk = group(
        ["stem.0", "conv2"],
        [piece("conv1.weight", 1, 8), piece("head.weight", 1, 8)],
        [*norm, "conv2.bias", "bn2.weight", "bn2.bias"],
        8,
    )
    inner = group(["conv1"], [piece("conv2.weight", 1, 8)], ["conv1.bias", "bn1.weight", "bn1.bias"], 8)
    return Coupling((trunk, inner), {"head": "reaches the output"})


def test_one_evidence_for_each_producer_in_the_groups_order(net, coupling, batches):
    found = channels.collect(net, coupling, NEEDS, batches)
    assert {name: [e.name for e in members] for name, members in found.items()} == {
        "stem.0": ["stem.0:stem.0", "stem.0:conv2"],
        "conv1": ["conv1:conv1"],
    }
    stem, conv2 = found["stem.0"]
    assert torch.equal(stem.weight, net.stem[0].weight) and torch.equal(conv2.weight, net.conv2.weight)
    assert torch.equal(stem.gamma, torch.stack([net.stem[1].weight, net.bn2.weight]))
    assert stem.seed != conv2.seed
    # rows 3·9 and 8·9, scales 2, columns 8·9 of conv1 and 4 of the head; no biases
    assert stem.slices.shape == stem.slices_grad.shape == (8, 27 + 72 + 2 + 72 + 4)


def test_maps_are_read_after_norm_addition_and_activation(net, coupling, batches):
    found = channels.collect(net, coupling, ("act_out",), batches)
    x = torch.cat([x for x, _ in batches])
    inner = net.bn1(net.conv1(net.stem(x))).relu()
    block = (net.stem(x) + net.bn2(net.conv2(inner))).relu()
    seen = [evidence.act_out for members in found.values() for evidence in members]
    for map, expected in zip(seen, (net.stem(x), block, inner), strict=True):
        assert torch.allclose(map, expected, atol=1e-6)


def test_gradients_of_maps_and_gates(net, coupling, batches):
    found = channels.collect(net, coupling, ("act_grad", "act_out", "gate_grad"), batches)["conv1"][0]
    per_example = []
    for x, y in batches:
        stem = net.stem(x)
        inner = net.bn1(net.conv1(stem)).relu().detach().requires_grad_()
        out = net.head((stem + net.bn2(net.conv2(inner))).relu().mean((2, 3)))
        F.cross_entropy(out, y).backward()
        per_example.append(inner.grad)
    assert torch.allclose(found.act_grad, torch.cat(per_example), atol=1e-7)
    gates = (
        (found.act_out * found.act_grad * 4).sum((2, 3)).abs().mean(0)
    )  # the loss is a mean over 4 examples
    assert torch.allclose(found.gate_grad, gates, atol=1e-6)


def test_rows_and_saliency_by_hand():
    net = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(2, 1, bias=False))
    net[0].weight.data = torch.tensor([[1.0], [2.0]])
    net[1].weight.data = torch.tensor([[3.0, -1.0]])
    coupling = Coupling((group(["0"], [piece("1.weight", 1, 2)], [], 2),), {})
    batches = [(torch.tensor([[x]]), torch.zeros(1, 1)) for x in (1.0, 2.0)]  # output x·(3·1 − 1·2) = x
    loss = lambda output, y: (output - y).square().sum() / 2  # noqa: E731
    found = channels.collect(net, coupling, ("filter_saliency", "grad", "consumers"), batches, loss)["0"][0]
    # ∂L/∂w_c = x · x · v_c: for x = 1 (3, −1), for x = 2 (12, −4)
    assert found.grad.flatten().tolist() == [7.5, -2.5]
    assert found.filter_saliency.tolist() == [(3**2 + 12**2) / 2, (2**2 + 8**2) / 2]
    (consumer,) = found.consumers
    assert consumer.tensor == "1.weight" and consumer.weight.tolist() == [[[3.0]], [[-1.0]]]
    assert consumer.gram.tolist() == [[5.0, 10.0], [10.0, 20.0]]  # Σ over x = 1, 2 of (x, 2x)ᵀ(x, 2x)


class Flattened(nn.Module):
    """conv a beside conv b, flattened into a linear layer: k columns a channel, behind an offset."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 3, 1)
        self.head = nn.Linear(5 * 4, 2)

    def forward(self, x):
        return self.head(torch.cat([self.a(x), self.b(x)], 1).relu().flatten(1))


def test_concatenation_and_flattening_are_exact():
    net, x = Flattened(), torch.randn(3, 1, 2, 2)
    columns = Slice("head.weight", 1, (8 + np.arange(12)).reshape(3, 4))
    coupling = Coupling((group(["b"], [columns], ["b.bias"], 3),), {})
    seen = channels.collect(net, coupling, ("act_out", "consumers"), [(x, torch.zeros(3).long())])["b"][0]
    assert torch.equal(seen.act_out, net.b(x).relu())
    assert torch.equal(
        seen.consumers[0].weight, net.head.weight.detach()[:, 8:].view(2, 3, 4).permute(1, 2, 0)
    )
    repaired = {"head.weight": seen.consumers[0].weight * 2}
    written = copy.deepcopy(net)
    channels.write_consumers(written, coupling.groups[0], repaired)
    assert torch.equal(written.head.weight[:, 8:], 2 * net.head.weight[:, 8:])
    assert torch.equal(written.head.weight[:, :8], net.head.weight[:, :8])


def test_gram_of_a_convolution_is_in_channel_order(net, coupling, batches):
    consumer = channels.collect(net, coupling, ("consumers",), batches)["conv1"][0].consumers[0]
    x = torch.cat([x for x, _ in batches])
    inner = net.bn1(net.conv1(net.stem(x))).relu()
    output = F.conv2d(inner, net.conv2.weight, padding=1)
    flat = consumer.weight.flatten(0, 1).double()  # (channels·n, out)
    energy = torch.einsum("ko,kl,lo->o", flat, consumer.gram, flat)
    assert torch.allclose(energy, output.double().square().sum((0, 2, 3)), rtol=1e-5)


def test_b26_members_of_a_group_get_one_score(net, coupling):
    net.stem[0].weight.data.copy_(torch.arange(8.0).view(8, 1, 1, 1).expand_as(net.stem[0].weight))
    net.conv2.weight.data.copy_(torch.arange(8.0).flip(0).view(8, 1, 1, 1).expand_as(net.conv2.weight))
    scores = channels.score_groups(lambda e: e.weight[:, 0, 0, 0], channels.collect(net, coupling))
    assert scores["stem.0"].tolist() == [3.5] * 8  # opposite rankings cancel, and all members agree


def test_model_stays_as_found_also_when_frozen_and_when_the_loss_raises(net, coupling, batches):
    net.train().requires_grad_(False)
    before, state = copy.deepcopy(net.state_dict()), torch.random.get_rng_state()
    channels.collect(net, coupling, NEEDS, batches)
    with pytest.raises(ZeroDivisionError):
        channels.collect(net, coupling, ("act_grad",), batches, lambda output, y: 1 / 0)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert net.training and not any(p.requires_grad or p.grad is not None for p in net.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(m._forward_pre_hooks for m in net.modules())


@pytest.mark.parametrize(
    ("needs", "given", "message"),
    [
        (("act_outs",), [], "evidence 'act_outs' is unknown"),
        (("act_out",), None, "needs 'act_out', observed on data; pass batches"),
        (("gate_grad",), [], "needs 'gate_grad', observed on data; pass batches"),
        (
            ("act_grad",),
            [torch.zeros(1, 3, 8, 8)],
            "'act_grad' is a gradient of the loss; pass batches of pairs",
        ),
    ],
)
def test_errors_say_what_is_missing(needs, given, message, net, coupling):
    with pytest.raises(ValueError, match=message):
        channels.collect(net, coupling, needs, given)


def test_a_group_without_batch_norm_or_reader_is_named():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    coupling = Coupling((group(["0"], [], ["0.bias"], 2),), {})
    batch = [(torch.ones(1, 2), torch.zeros(1).long())]
    with pytest.raises(ValueError, match="group 0 has no batch-norm scale"):
        channels.collect(net, coupling, ("gamma",))
    with pytest.raises(ValueError, match="reads 0; leave them out by protect="):
        channels.collect(net, coupling, ("consumers",), batch)


def test_a_producer_that_is_not_called_has_no_map_and_a_group_needs_one():
    class Projected(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.head = nn.Linear(2, 3), nn.Linear(2, 3), nn.Linear(3, 2)

        def forward(self, x):
            return self.head((F.linear(x, self.a.weight, self.a.bias) + self.b(x)).relu())

    net, batch = Projected(), [(torch.ones(1, 2), torch.zeros(1).long())]
    both = Coupling((group(["a", "b"], [piece("head.weight", 1, 3)], [], 3),), {})
    assert [e.name for e in channels.collect(net, both, ("act_out",), batch)["a"]] == ["a:b"]
    with pytest.raises(ValueError, match="no producer of a is called as a layer"):
        channels.collect(
            net, Coupling((group(["a"], [piece("head.weight", 1, 3)], [], 3),), {}), ("act_out",), batch
        )


def test_maps_of_different_sizes_are_refused(net, coupling):
    mixed = [torch.zeros(1, 3, size, size) for size in (8, 12)]
    with pytest.raises(ValueError, match="one image or text size"):
        channels.collect(net, coupling, ("act_out",), mixed)


def test_score_groups_is_the_mean_over_producers():
    members = [Evidence("g:a", torch.tensor([[1.0], [2.0]])), Evidence("g:b", torch.tensor([[3.0], [6.0]]))]
    assert channels.score_groups(lambda e: e.weight[:, 0], {"g": members})["g"].tolist() == [2.0, 4.0]
