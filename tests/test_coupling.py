"""Channel groups and cuts of hand-made networks: what is tied, what is fixed, references built by hand."""

import ctypes

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from survey_lib import prune, register, trace
from survey_lib.chain import masks
from survey_lib.chain.coupling import Coupling, group_masks
from survey_lib.chain.coupling.rules import table
from survey_lib.chain.surgery.cut import cut


@pytest.fixture(autouse=True)
def seeded():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def keep_without(coupling: Coupling, **removed) -> dict[str, torch.Tensor]:
    """Keep-masks; removed channels by group name, dots written as two underscores, `_0` for a layer named 0."""
    keep = {}
    for name, channels in removed.items():
        name = name.removeprefix("_").replace("__", ".")
        keep[name] = torch.ones(coupling[name].size, dtype=torch.bool)
        keep[name][channels] = False
    return keep


def cut_without(model, example, **removed):
    coupling = trace(model, example)
    result = cut(model, coupling, keep_without(coupling, **removed), example)
    assert not result.refused
    return result


def slices(coupling, name) -> dict:
    return {(piece.tensor, piece.dim): piece.index.tolist() for piece in coupling[name].slices}


def randomise_norms(model):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.bias, -1, 1)
    return model.double().eval()


def relative(found, expected) -> float:
    return ((found - expected).abs().max() / expected.abs().max()).item()


class Functional(nn.Module):
    """A module from named layers and a forward written as a function of them and the input."""

    def __init__(self, forward, **layers):
        super().__init__()
        self.run = forward
        for name, layer in layers.items():
            if isinstance(layer, torch.Tensor) and not isinstance(layer, nn.Parameter):
                self.register_buffer(name, layer)
            else:
                setattr(self, name, layer)

    def forward(self, *inputs):
        return self.run(self, *inputs)


@pytest.mark.parametrize("mean", [0.0, -2.0])
def test_b19_cut_channel_takes_its_batch_norm_along(mean):
    model = (
        nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 3, 3, padding=1),
        )
        .double()
        .eval()
    )
    nn.init.constant_(model[1].bias, 0.5)
    nn.init.constant_(model[1].running_mean, mean)
    x = torch.randn(2, 2, 6, 6).double()
    result = cut_without(model, x, _0=[1])
    left = [0, 2, 3]
    norm = model[1]
    hidden = F.conv2d(x, model[0].weight[left], padding=1)
    hidden = F.batch_norm(
        hidden, *(t[left] for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias))
    )
    by_hand = F.conv2d(F.relu(hidden), model[3].weight[:, left], model[3].bias, padding=1)
    coupling = trace(model, x)
    masked = masks.masked_copy(model, group_masks(model, coupling, result.keep))
    assert relative(result.model(x), by_hand) < 1e-12
    assert relative(masked(x), by_hand) < 1e-12
    assert "1.running_mean" not in group_masks(model, coupling, result.keep)


def test_b21_consumer_loses_the_removed_inputs_and_not_the_last_ones():
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3))
    result = cut_without(model, torch.randn(1, 3, 8, 8), _0=[1, 3, 4])
    assert torch.equal(result.model[0].weight, model[0].weight[[0, 2, 5]])
    assert torch.equal(result.model[1].weight, model[1].weight[:, [0, 2, 5]])


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(8),
        nn.BatchNorm2d(8, affine=False),
        nn.BatchNorm2d(8, track_running_stats=False),
        nn.InstanceNorm2d(8, affine=True),
        nn.PReLU(8),
        nn.PReLU(1),
    ],
)
def test_b22_norms_and_activations_follow(norm):
    for tensor in [*norm.parameters(), *norm.buffers()]:
        if tensor.shape == (8,):
            tensor.data = torch.arange(8.0) + 1
    model = nn.Sequential(nn.Conv2d(3, 8, 3), norm, nn.Conv2d(8, 4, 3))
    small = cut_without(model, torch.randn(2, 3, 9, 9), _0=[0, 4, 7]).model[1]
    left = [1, 2, 3, 5, 6]
    for name, tensor in norm.state_dict().items():
        assert torch.equal(small.state_dict()[name], tensor[left] if tensor.shape == (8,) else tensor)
    width = "num_features" if hasattr(norm, "num_features") else "num_parameters"
    assert getattr(small, width) == (1 if getattr(norm, width) == 1 else 5)
    assert [v is None for v in vars(small)["_buffers"].values()] == [
        v is None for v in norm._buffers.values()
    ]


def test_b23_depthwise_follows_and_changes_its_groups():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 1),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 4, 1),
    )
    small = cut_without(model, torch.randn(1, 3, 8, 8), _0=[0, 3, 6]).model
    depthwise = small[3]
    assert depthwise.weight.shape == (5, 1, 3, 3)
    assert (depthwise.groups, depthwise.in_channels, depthwise.out_channels) == (5, 5, 5)


def test_b23_one_channel_is_not_depthwise():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 1, 3), nn.Conv2d(1, 4, 3))
    coupling = trace(model, torch.randn(1, 3, 9, 9))
    assert [(group.name, group.size) for group in coupling.groups] == [("0", 8)]
    small = cut_without(model, torch.randn(1, 3, 9, 9), _0=[0, 1, 2, 3]).model
    assert small[1].weight.shape == (1, 4, 3, 3)


def test_a_grouped_convolution_that_no_image_reaches_is_cut_like_the_rest():
    def forward(m, x):
        far = (x.sum((1, 2, 3)) > 1e9).nonzero()[:, 0]
        return m.c(torch.cat([m.a(x), m.b(m.a(x)[far])]))

    layers = {"a": nn.Conv2d(3, 8, 1), "b": nn.Conv2d(8, 8, 3, padding=1, groups=2), "c": nn.Conv2d(8, 2, 1)}
    result = prune(Functional(forward, **layers), "l1-filter", 0.5, example=torch.randn(2, 3, 6, 6))
    assert result.model.b.weight.shape[0] == 4 and not result.skipped[1:]


@pytest.mark.parametrize("tenth", range(1, 10))
def test_b24_both_groups_of_a_grouped_convolution_lose_the_same(tenth):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 12, 3, groups=2), nn.Conv2d(12, 4, 3)).double()
    x = torch.randn(2, 3, 9, 9).double()
    first, second = min(round(tenth * 0.4), 3), min(round(tenth * 0.6), 5)
    result = cut_without(model, x, _0=list(range(first)), _1=list(range(second)))
    left = [*range(first, 4), *range(4 + first, 8)]
    rows = [*range(second, 6), *range(6 + second, 12)]
    hidden = F.conv2d(x, model[0].weight[left], model[0].bias[left])
    hidden = F.conv2d(hidden, model[1].weight[rows][:, first:], model[1].bias[rows], groups=2)
    by_hand = F.conv2d(hidden, model[2].weight[:, rows], model[2].bias)
    assert relative(result.model(x), by_hand) < 1e-12


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x):
        return F.relu(x + self.conv2(F.relu(self.conv1(x))))


def test_b26_members_of_a_residual_group_lose_one_common_set():
    model = nn.Sequential(
        nn.Conv2d(3, 64, 3), Block(64), Block(64), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
    )
    coupling = trace(model, torch.randn(1, 3, 8, 8))
    assert coupling["0"].producers == ("0", "1.conv2", "2.conv2")
    small = cut_without(model, torch.randn(1, 3, 8, 8), _0=list(range(0, 57, 3))).model
    assert [m.out_channels for m in (small[0], small[1].conv2, small[2].conv2)] == [45, 45, 45]
    assert small[5].in_features == 45


class PaddedShortcut(nn.Module):
    def __init__(self, planes, width, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(planes, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        pad = (width - planes) // 2
        self.shortcut = lambda x: F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, pad, pad))

    def forward(self, x):
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.shortcut(x))


def resnet_a():
    widths = [(16, 16, 1), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)]
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        *(PaddedShortcut(*w) for w in widths),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


def test_b27_padded_shortcut_ties_3_11_and_27():
    model = randomise_norms(resnet_a())
    x = torch.randn(2, 3, 16, 16).double()
    index = slices(trace(model, x), "0")
    assert index["4.conv2.weight", 0][3] == [3]
    assert index["6.bn2.bias", 0][3] == [11]
    assert index["8.conv2.weight", 0][3] == index["11.weight", 1][3] == [27]
    result = cut_without(model, x, _0=[3])
    masked = masks.masked_copy(model, group_masks(model, trace(model, x), result.keep))
    assert relative(result.model(x), masked(x)) < 1e-9
    halves = cut_without(model, x, _0=list(range(0, 16, 2))).model
    assert [halves[i].conv2.out_channels for i in (3, 5, 7)] == [8, 24, 56]


def test_b28_concatenation_shifts_by_the_first_input():
    model = Functional(
        lambda m, x: m.c(torch.cat([m.a(x), m.b(x)], 1)),
        a=nn.Conv2d(2, 3, 1),
        b=nn.Conv2d(2, 4, 1),
        c=nn.Conv2d(7, 2, 1),
    )
    small = cut_without(model, torch.randn(1, 2, 5, 5), b=[1]).model
    assert torch.equal(small.c.weight, model.c.weight[:, [0, 1, 2, 3, 5, 6]])
    assert torch.equal(small.a.weight, model.a.weight)
    again = cut_without(small, torch.randn(1, 2, 5, 5), b=[0], a=[2]).model  # offsets from current widths
    assert torch.equal(again.c.weight, model.c.weight[:, [0, 1, 5, 6]])


def test_b28_the_same_tensor_twice():
    model = Functional(
        lambda m, x: m.c(torch.cat([m.a(x)] * 2, 1)), a=nn.Conv2d(2, 3, 1), c=nn.Conv2d(6, 2, 1)
    )
    assert slices(trace(model, torch.randn(1, 2, 5, 5)), "a")["c.weight", 1] == [[0, 3], [1, 4], [2, 5]]


def test_b28_dense_block():
    def forward(m, x):
        x = torch.cat([x, m.a(x)], 1)
        x = torch.cat([x, m.b(F.relu(x))], 1)
        return m.c(F.relu(x))

    model = Functional(forward, a=nn.Conv2d(2, 3, 1), b=nn.Conv2d(5, 3, 1), c=nn.Conv2d(8, 2, 1))
    index = slices(trace(model, torch.randn(1, 2, 5, 5)), "a")
    assert index["b.weight", 1] == index["c.weight", 1] == [[2], [3], [4]]


@pytest.mark.parametrize("seed", range(20))
def test_b31_squeeze_and_excitation(seed):
    def forward(m, x):
        y = F.relu(m.trunk(x))
        return m.out(y * torch.sigmoid(m.expand(F.relu(m.reduce(y.mean((2, 3), keepdim=True))))))

    model = Functional(
        forward,
        trunk=nn.Conv2d(3, 8, 1),
        reduce=nn.Conv2d(8, 4, 1),
        expand=nn.Conv2d(4, 8, 1),
        out=nn.Conv2d(8, 4, 1),
    )
    left = sorted(torch.randperm(8, generator=torch.Generator().manual_seed(seed))[:4].tolist())
    small = cut_without(model, torch.randn(1, 3, 6, 6), trunk=[c for c in range(8) if c not in left]).model
    assert torch.equal(small.trunk.weight, model.trunk.weight[left])
    assert torch.equal(small.reduce.weight, model.reduce.weight[:, left])
    assert torch.equal(small.expand.weight, model.expand.weight[left])
    assert torch.equal(small.out.weight, model.out.weight[:, left])


def test_b32_group_norm_loses_one_channel_of_each_group_and_is_flagged():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.GroupNorm(4, 8), nn.Conv2d(8, 4, 1))
    x = torch.randn(1, 3, 5, 5)
    group = trace(model, x)["0"]
    assert group.size == 2 and "native_group_norm over channels" in group.flags
    result = cut_without(model, x, _0=[1])
    assert result.over_kept
    assert (result.model[1].num_groups, result.model[1].num_channels) == (4, 4)
    assert torch.equal(result.model[0].weight, model[0].weight[::2])


def test_b32_layer_norm_differs_from_the_mask_and_equals_the_norm_over_kept():
    model = nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.Linear(8, 4)).double()
    x = torch.randn(5, 3).double()
    result = cut_without(model, x, _0=[1, 5])
    left = [0, 2, 3, 4, 6, 7]
    hidden = F.linear(x, model[0].weight[left], model[0].bias[left])
    by_hand = F.linear(F.layer_norm(hidden, [6]), model[2].weight[:, left], model[2].bias)
    masked = masks.masked_copy(model, group_masks(model, trace(model, x), result.keep))
    assert result.over_kept and result.model[1].normalized_shape == (6,)
    assert relative(result.model(x), by_hand) < 1e-12
    assert relative(masked(x), by_hand) > 0.01


@pytest.mark.parametrize("kind, gates", [(nn.LSTM, 4), (nn.GRU, 3)])
def test_b35_hidden_units_lose_all_gates_and_recurrent_columns(kind, gates):
    model = Functional(
        lambda m, x: m.out(m.cell(x)[0]), cell=kind(4, 3, batch_first=True), out=nn.Linear(3, 2)
    )
    small = cut_without(model, torch.randn(2, 5, 4), cell=[1]).model
    rows = [3 * gate + unit for gate in range(gates) for unit in (0, 2)]
    assert torch.equal(small.cell.weight_ih_l0, model.cell.weight_ih_l0[rows])
    assert torch.equal(small.cell.weight_hh_l0, model.cell.weight_hh_l0[rows][:, [0, 2]])
    assert small.cell.hidden_size == 2 and small.out.in_features == 2
    assert small(torch.randn(1, 9, 4)).shape == (1, 9, 2)


@pytest.mark.parametrize("table", [nn.Parameter(torch.rand(8, 1, 1)), torch.rand(1, 8, 1, 1)])
def test_b37_bare_parameters_and_buffers_follow(table):
    model = Functional(
        lambda m, x: m.out(m.conv(x) * m.g), conv=nn.Conv2d(3, 8, 3), g=table, out=nn.Conv2d(8, 4, 1)
    )
    small = cut_without(model, torch.randn(1, 3, 10, 10), conv=[0, 5]).model
    left = [1, 2, 3, 4, 6, 7]
    assert torch.equal(small.g, table[left] if table.dim() == 3 else table[:, left])
    assert isinstance(small.g, nn.Parameter) == isinstance(table, nn.Parameter)


def test_b37_a_table_whose_axes_fit_twice_is_read_as_broadcasting_reads_it():
    """(8, 8) against (n, 8, 8, 8) meets height and width: it keeps its size, the channels go."""
    model = Functional(
        lambda m, x: m.out(m.conv(x) * m.g),
        conv=nn.Conv2d(3, 8, 3),
        g=nn.Parameter(torch.rand(8, 8)),
        out=nn.Conv2d(8, 4, 1),
    )
    assert cut_without(model, torch.randn(1, 3, 10, 10), conv=[0]).model.g.shape == (8, 8)


def test_b37_a_plain_tensor_attribute_fixes_its_layer():
    model = Functional(
        lambda m, x: m.out(m.conv(x) * m.g[0]), conv=nn.Conv2d(3, 8, 3), out=nn.Conv2d(8, 4, 1)
    )
    model.g = [torch.rand(8, 1, 1)]
    coupling = trace(model, torch.randn(1, 3, 10, 10))
    assert not coupling.groups and "mul" in coupling.fixed["conv"]


@pytest.mark.parametrize("reparametrise", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm])
def test_b38_reparametrised_weights_are_refused_with_advice(reparametrise):
    model = nn.Sequential(
        reparametrise(nn.Linear(4, 8)), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2)
    )
    coupling = trace(model, torch.randn(2, 4))
    assert [group.name for group in coupling.groups] == ["2"]
    reasons = [why for layer, why in coupling.fixed.items() if layer.startswith("0")]
    assert reasons and all("fold it first with torch.nn.utils." in why for why in reasons)


def test_b39_frozen_models_are_cut_alike_and_stay_frozen():
    def build(frozen):
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3)
        ).requires_grad_(not frozen)

    x = torch.randn(1, 3, 9, 9)
    free, frozen = (cut_without(build(flag), x, _0=[0, 1, 2, 3]).model for flag in (False, True))
    assert sum(p.numel() for p in frozen.parameters()) == sum(p.numel() for p in free.parameters()) == 268
    assert not any(p.requires_grad for p in frozen.parameters()) and all(
        p.requires_grad for p in free.parameters()
    )
    partly = build(False)
    partly[0].requires_grad_(False)
    flags = [p.requires_grad for p in cut_without(partly, x, _0=[1]).model.parameters()]
    assert flags == [False, False, True, True, True, True]


def test_b39_parameters_made_in_inference_mode():
    with torch.inference_mode():
        model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    assert cut_without(model, torch.randn(1, 4), _0=[2]).model[0].out_features == 5


def test_b40_an_unknown_group_lists_the_known_ones():
    coupling = trace(nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 1)), torch.ones(1, 2))
    with pytest.raises(ValueError, match="no channel group 'conv9'; there are: 0"):
        coupling["conv9"]


def test_b41_outputs_keep_their_width_whatever_their_container():
    model = Functional(
        lambda m, x: {"first": m.one(m.stem(x)), "more": [m.two(m.stem(x))]},
        stem=nn.Linear(5, 6),
        one=nn.Linear(6, 3),
        two=nn.Linear(6, 2),
    )
    coupling = trace(model, torch.randn(2, 5))
    assert [group.name for group in coupling.groups] == ["stem"]
    wrap = "; wrap the model to return only what you need"
    assert coupling.fixed == {
        "one": "reaches the model's output 'first'",
        "two": f"reaches the model's output 'more'{wrap}",
    }


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.to(memory_format=torch.channels_last),
        lambda m: m.double(),
        lambda m: m.half(),
        lambda m: m.bfloat16(),
    ],
)
def test_b46_memory_format_and_dtype_are_kept(change):
    model = change(nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3)))
    weight = model[0].weight
    small = cut_without(model, torch.randn(1, 4, 9, 9, dtype=weight.dtype), _0=[1]).model[0].weight
    assert small.dtype == weight.dtype and small.shape == (5, 4, 3, 3)
    formats = [w.is_contiguous(memory_format=torch.channels_last) for w in (weight, small)]
    assert formats[0] == formats[1]


def test_flattened_maps_lose_all_their_columns():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(12, 2))
    assert slices(trace(model, torch.randn(2, 1, 4, 4)), "0")["2.weight", 1][1] == [4, 5, 6, 7]


def test_tied_embedding_stays_tied():
    embedding, head = nn.Embedding(7, 6), nn.Linear(6, 7, bias=False)
    head.weight = embedding.weight
    model = Functional(
        lambda m, i: m.head(torch.tanh(m.mix(m.embed(i)))), embed=embedding, mix=nn.Linear(6, 6), head=head
    )
    small = cut_without(model, torch.tensor([[0, 3, 5]]), embed=[0, 1]).model
    assert small.head.weight is small.embed.weight and small.embed.weight.shape == (7, 4)


def test_two_inputs_and_named_inputs():
    layers = {"left": nn.Linear(3, 6), "right": nn.Linear(2, 6), "out": nn.Linear(6, 1)}
    inputs = torch.randn(4, 3), torch.randn(4, 2)
    pair = Functional(lambda m, x, y: m.out(m.left(x) * m.right(y)), **layers)
    assert trace(pair, inputs)["left"].producers == ("left", "right")
    named = type("Named", (Functional,), {"forward": lambda self, x, y: self.run(self, x, y)})(
        pair.run, **layers
    )
    assert trace(named, {"y": inputs[1], "x": inputs[0]})["left"].size == 6


def test_grouped_query_attention_by_hand_loses_whole_heads():
    def forward(m, x):
        batch, length, _ = x.shape
        q, k, v = (f(x).view(batch, length, -1, 5).transpose(1, 2) for f in (m.q, m.k, m.v))
        k, v = k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return m.out(mixed.transpose(1, 2).reshape(batch, length, -1))

    model = Functional(
        forward, q=nn.Linear(6, 20), k=nn.Linear(6, 10), v=nn.Linear(6, 10), out=nn.Linear(20, 3)
    )
    group = trace(model, torch.randn(2, 4, 6))["q"]
    assert group.size == 2
    assert slices(trace(model, torch.randn(2, 4, 6)), "q")["k.weight", 0][1] == [5, 6, 7, 8, 9]
    small = cut_without(model, torch.randn(2, 4, 6), q=[0]).model
    assert (small.q.out_features, small.k.out_features, small.out.in_features) == (10, 5, 10)


class SelfAttention(nn.Module):
    """Attention that holds the number and the width of its heads, as most libraries write it."""

    def __init__(self, heads, width):
        super().__init__()
        self.heads, self.width, self.total = heads, width, heads * width
        self.qkv, self.out = nn.Linear(6, 3 * self.total), nn.Linear(self.total, 3)

    def forward(self, x):
        batch, length, _ = x.shape
        q, k, v = self.qkv(x).reshape(batch, length, 3, self.heads, self.width).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, self.total))


@pytest.mark.parametrize("batch, heads, width", [(4, 4, 16), (2, 3, 6), (8, 2, 16)])
def test_width_of_a_head_is_not_taken_for_batch_times_heads(batch, heads, width):
    model, x = SelfAttention(heads, width), torch.randn(batch, 5, 6)
    done = cut_without(model, x, qkv=[0])
    assert (done.model.heads, done.model.width) == (heads - 1, width)
    assert done.model.total == done.model.out.in_features == (heads - 1) * width


def test_multi_head_attention_keeps_trunk_and_heads_in_step():
    model = Functional(
        lambda m, x: m.out(m.stem(x) + m.mha(*[m.stem(x)] * 3)[0]),
        stem=nn.Linear(5, 12),
        mha=nn.MultiheadAttention(12, 4, batch_first=True),
        out=nn.Linear(12, 3),
    )
    x = torch.randn(2, 6, 5)
    coupling = trace(model, x)
    assert coupling.counts == (("stem", "mha"),)
    asked = keep_without(
        coupling, stem=[0, 1, 2, 3], mha=[2]
    )  # 8 of 12 and 3 of 4: means 0.71, done as 3 of 4
    scores = {"stem": torch.arange(12.0), "mha": torch.arange(4.0)}
    balanced = coupling.balance(asked, scores)
    assert balanced["stem"].sum() == 9 and balanced["mha"].tolist() == [True, True, False, True]
    assert balanced["stem"].tolist() == [False] * 3 + [True] * 9
    small = cut(model, coupling, asked, x).model
    assert (small.mha.embed_dim, small.mha.num_heads, small.stem.out_features) == (9, 3, 9)


def test_balance_never_empties_a_group():
    coupling = trace(nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 1)), torch.ones(1, 2))
    kept = coupling.balance(
        {"0": torch.zeros(4, dtype=torch.bool)}, {"0": torch.tensor([1.0, 9.0, 2.0, 3.0])}
    )["0"]
    assert kept.tolist() == [False, True, False, False]


def test_train_only_heads_are_cut_too():
    def forward(m, x):
        y = m.stem(x)
        return (m.head(y), m.auxiliary(y)) if m.training else m.head(y)

    model = Functional(forward, stem=nn.Linear(4, 6), head=nn.Linear(6, 2), auxiliary=nn.Linear(6, 2)).train()
    small = cut_without(model, torch.randn(2, 4), stem=[0, 1]).model
    assert small.training and small(torch.randn(2, 4))[1].shape == (2, 2)


@pytest.mark.parametrize(
    "forward, reason",
    [
        (lambda m, x: m.b(torch.softmax(m.a(x), 1)), "_softmax over the channel axis"),
        (lambda m, x: m.b(m.a(x).roll(1, 1)), "roll takes a constant place"),
        (lambda m, x: m.b(m.a(x)[:, torch.tensor([3, 1, 0, 2, 4, 5])]), "index takes a constant place"),
        (lambda m, x: m.b(torch.fft.fft(m.a(x)).real), "unknown operation"),
        (lambda m, x: m.b(torch.cat(m.a(x).split([2, 4], 1), 1)), "constant sizes"),
        (lambda m, x: m.b(m.a(x) * torch.arange(6)), "cannot go"),
    ],
)
def test_what_cannot_be_followed_is_fixed_with_the_reason(forward, reason):
    coupling = trace(Functional(forward, a=nn.Linear(3, 6), b=nn.Linear(6, 2)), torch.randn(2, 3))
    assert not coupling.groups and reason in coupling.fixed["a"]


def test_a_literal_size_in_code_is_refused_by_name():
    model = Functional(lambda m, x: m.b(m.a(x).view(-1, 6)), a=nn.Linear(3, 6), b=nn.Linear(6, 2))
    coupling = trace(model, torch.randn(5, 3))
    result = cut(model, coupling, keep_without(coupling, a=[0]), torch.randn(5, 3))
    assert not result.keep and result.model(torch.randn(5, 3)).shape == (5, 2)
    assert result.refused[0][0] == "a" and "fails" in result.refused[0][1]


def test_position_rows_are_no_group_of_their_own():
    """Rows beyond the traced length have no consumer; cut, a longer input would differ."""
    table = nn.Parameter(torch.randn(1, 9, 6))
    model = Functional(
        lambda m, x: m.b(m.a(x) + m.table[:, : x.shape[1]]), a=nn.Linear(3, 6), b=nn.Linear(6, 2), table=table
    )
    coupling = trace(model, torch.randn(2, 4, 3))
    assert [group.name for group in coupling.groups] == ["a"]
    assert {dim for piece in coupling["a"].slices if piece.tensor == "table" for dim in [piece.dim]} == {2}


def test_trace_leaves_the_model_and_the_random_state_alone():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Dropout(), nn.Conv2d(8, 2, 3)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state, x = torch.get_rng_state(), torch.randn(2, 3, 9, 9)
    kept = x.clone()
    torch.set_rng_state(state)
    cut(model, coupling := trace(model, x), keep_without(coupling, _0=[0]), x)
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(x, kept) and model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match="is not initialised yet"):
        trace(nn.Sequential(nn.LazyLinear(3)), torch.ones(1, 2))
    with pytest.raises(ValueError, match="example must be"):
        trace(nn.Linear(2, 2), "image.png")
    coupling = trace(nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 1)), torch.ones(1, 2))
    for mask, message in [
        (torch.ones(3, dtype=torch.bool), "shape"),
        (torch.ones(4), "bool"),
        (torch.zeros(4, dtype=torch.bool), "keep at least one"),
    ]:
        with pytest.raises(ValueError, match=message):
            group_masks(nn.Linear(2, 4), coupling, {"0": mask})


def test_index_is_an_array_of_channels_by_positions():
    piece = trace(nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 1)), torch.ones(1, 2))["0"].slices[0]
    assert isinstance(piece.index, np.ndarray) and piece.index.shape == (4, 1)


# the coupling as an object to read and to share


class Tiny(nn.Module):
    """conv - bn - relu - conv, added to its input, and a head; `spare` is never used."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv1 = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 4, 3, padding=1, bias=False)
        self.bn, self.conv2 = nn.BatchNorm2d(4), nn.Conv2d(4, 6, 1, bias=False)
        self.head, self.spare = nn.Linear(6, 2), nn.Linear(6, 2)

    def forward(self, x):
        x = self.stem(x)
        return self.head((x + self.conv2(self.bn(self.conv1(x)).relu())).mean((2, 3)))


PIXELS = torch.zeros(2, 3, 5, 5)


def test_a_coupling_prints_a_line_a_group_and_what_is_fixed_or_unseen():
    lines = repr(trace(Tiny(), PIXELS)).splitlines()
    assert [line.split() for line in lines[2:4]] == [
        ["stem", "6", "5", "stem,", "conv2", "conv1,", "head"],
        ["conv1", "4", "6", "conv1", "conv2"],
    ]
    assert lines[0] == "2 channel groups, 10 channels"
    assert lines[4:] == [
        "fixed: head (reaches the model's output)",
        "unseen: spare.weight",
        "unseen: spare.bias",
    ]


def test_a_group_prints_a_line_a_tensor_with_the_reason():
    text = repr(
        trace(Tiny(), PIXELS)["conv2"]
    )  # found by the layer, though the group is named after the stem
    assert [line.split(maxsplit=3) for line in text.splitlines()] == [
        ["group", "stem,", "6", "channels"],
        ["tensor", "axis", "channels", "why"],
        ["stem.weight", "0", "6", "output, convolution in stem, convolution in conv1, add, addmm in head"],
        ["stem.bias", "0", "6", "convolution in stem"],
        ["conv1.weight", "1", "6", "input, convolution in conv1"],
        ["conv2.weight", "0", "6", "output, add"],
        ["head.weight", "1", "6", "input, addmm in head"],
    ]


def test_a_keep_mask_under_the_name_of_a_layer_is_refused():
    model = Tiny()
    with pytest.raises(ValueError, match="conv2 is a layer of group 'stem'"):
        group_masks(model, trace(model, PIXELS), {"conv2": torch.tensor([True, False] * 3)})


def test_the_table_of_a_torchvision_model_is_short_and_fixed_layers_are_explained():
    coupling = trace(torchvision.models.resnet18(), torch.zeros(1, 3, 32, 32))
    assert len(repr(coupling)) < 2000 and not coupling.unseen
    with pytest.raises(ValueError, match="fc is fixed: reaches the model's output"):
        coupling["fc"]


def test_cuts_share_a_trace(monkeypatch):
    model = Tiny().eval()
    del model.spare
    coupling = trace(model, PIXELS)
    expected = [prune(model, method, 0.5, example=PIXELS) for method in ("l1-filter", "fpgm")]
    monkeypatch.setattr("survey_lib.chain.coupling.tracer._best", None)  # must not be called
    for method, result in zip(("l1-filter", "fpgm"), expected, strict=True):
        again = prune(model, method, 0.5, example=PIXELS, coupling=coupling)
        assert again.plan == result.plan and again.skipped == result.skipped


def test_a_coupling_of_another_model_or_for_another_kind_of_method_is_refused():
    coupling = trace(Tiny(), PIXELS)
    with pytest.raises(
        ValueError, match="'head.weight' has shape .2, 6. there and .3, 6. here; trace this model"
    ):
        model = Tiny()
        model.head = nn.Linear(6, 3)
        prune(model, "l1-filter", 0.5, example=PIXELS, coupling=coupling)
    with pytest.raises(ValueError, match="magnitude does not look at coupled channels"):
        prune(Tiny(), "magnitude", 0.5, coupling=coupling)


def test_b70_what_the_example_does_not_use_is_named_and_warned_about():
    with pytest.warns(UserWarning, match="does not use spare.weight, spare.bias; they stay whole"):
        result = prune(Tiny(), "l1-filter", 0.5, example=PIXELS)
    assert ("spare.bias", "no operation of the run on the example uses it") in result.skipped


def swallowed(hidden) -> bool:
    try:
        return hidden.sum().item() > 0
    except Exception:
        return False


@torch.library.custom_op("survey_tests::positive", mutates_args=())
def positive(x: torch.Tensor) -> torch.Tensor:
    return x[x > 0].clone()


LOOKS = {
    "compared": lambda hidden: hidden.sum() > 0,
    "list": lambda hidden: hidden.sum().tolist() > 0,
    "array": lambda hidden: hidden.detach().numpy().sum() > 0,
    "shape": lambda hidden: len(hidden.nonzero()) > 0,
    "shared with numpy": lambda hidden: np.from_dlpack(hidden.detach()).sum() > 0,
    "address": lambda hidden: ctypes.c_float.from_address(hidden.data_ptr()).value > 0,
    "sparse": lambda hidden: hidden.to_sparse()._nnz() > 0,
    "operation of one's own": lambda hidden: len(positive(hidden)) > 0,
    "swallowed": swallowed,
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_branch_on_values_is_the_one_that_the_example_takes(look):
    def forward(self, x):
        hidden = self.first(x).relu()
        return self.positive(hidden) if look(hidden) else self.zero(hidden)

    layers = {"first": nn.Linear(3, 4), "positive": nn.Linear(4, 2), "zero": nn.Linear(4, 2)}
    nn.init.ones_(layers["first"].weight)
    assert trace(Functional(forward, **layers), torch.ones(1, 3)).unseen == ("zero.weight", "zero.bias")


def test_two_tensors_compared_as_a_whole_fix_their_channels():
    model = Functional(
        lambda m, x: m.b(h if not torch.equal(h := m.a(x), 2 * h) else -h),
        a=nn.Linear(3, 6),
        b=nn.Linear(6, 2),
    )
    assert "unknown operation equal" in trace(model, torch.randn(2, 3)).fixed["a"]


def test_a_table_that_a_forward_keeps_outside_of_the_model_holds_its_values():
    kept = {}

    def forward(self, x):
        if "positions" not in kept:
            kept["positions"] = torch.arange(1.0, 3)[:, None] @ torch.ones(1, 4)
        return self.b(self.a(x) + kept["positions"])

    trace(Functional(forward, a=nn.Linear(3, 4), b=nn.Linear(4, 2)), torch.randn(2, 3))
    assert torch.equal(kept["positions"], torch.tensor([[1.0], [2.0]]).expand(2, 4))


def test_a_gradient_of_a_function_inside_the_forward_is_checked_too():
    def forward(m, x):
        slope = torch.func.grad(lambda x: m.d(m.c(x).tanh()).sum())(x)
        return m.b(m.a(x + slope).relu())

    layers = {"a": nn.Linear(3, 4), "b": nn.Linear(4, 2), "c": nn.Linear(3, 4), "d": nn.Linear(4, 1)}
    small = prune(Functional(forward, **layers), "l1-filter", 0.5, example=torch.randn(2, 3)).model
    assert (small.a.out_features, small.c.out_features) == (2, 2)


def test_a_model_with_a_sparse_graph_and_a_complex_weight_is_cut_around_them():
    def forward(m, x):
        mixed = (x.to(m.mix.dtype) @ m.mix).real
        return torch.sparse.mm(m.graph, m.b(m.a(mixed).relu()))

    mix = nn.Parameter(torch.randn(3, 3, dtype=torch.cfloat))
    layers = {"a": nn.Linear(3, 4), "b": nn.Linear(4, 2), "mix": mix, "graph": torch.eye(2).to_sparse()}
    model, before = Functional(forward, **layers), mix.detach().clone()
    assert prune(model, "l1-filter", 0.5, example=torch.randn(2, 3)).model.a.out_features == 2
    assert torch.equal(mix, before) and torch.equal(model.graph.to_dense(), torch.eye(2))


@torch.library.custom_op("survey_tests::swap_halves", mutates_args=())
def swap_halves(x: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, 1)
    return torch.cat([second, first], 1)


class Swapping(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.b(swap_halves(self.a(x)))


def test_operations_of_ones_own_get_a_rule(monkeypatch):
    """Column j of `b` reads row (j + 3) % 6 of `a`; both halves must lose the same channels."""
    model, x = Swapping().double(), torch.randn(4, 3, dtype=torch.float64)
    coupling = trace(model, x)
    assert "unknown operation survey_tests.swap_halves" in coupling.fixed["a"] and not coupling.groups

    def rule(call, x):
        halves = call.labels.vector(x, 1).reshape(2, -1)
        label = call.labels.tie(halves, "swap_halves")
        return {1: np.concatenate([label, label])}

    monkeypatch.setattr(table, "TABLE", dict(table.TABLE))
    register(torch.ops.survey_tests.swap_halves, rule)
    result = prune(model, "l1-filter", 1 / 3, example=x)
    assert slices(trace(model, x), "a")["b.weight", 1] == [[0, 3], [1, 4], [2, 5]]
    masked = masks.masked_copy(model, result.masks)
    assert result.model.a.out_features == 4 and torch.allclose(result.model(x), masked(x), rtol=1e-9)


def test_a_wrong_rule_makes_no_wrong_cut(monkeypatch):
    monkeypatch.setattr(table, "TABLE", dict(table.TABLE))
    register(torch.ops.survey_tests.swap_halves, lambda call, x: call.axes(x))
    with pytest.warns(UserWarning, match="realised 0.000"):
        result = prune(Swapping(), "l1-filter", 1 / 2, example=torch.randn(4, 3))
    assert dict(result.skipped)["a"] == "the cut model computes something else than the masked one"


def test_register_takes_operations_of_torch_only():
    with pytest.raises(ValueError, match="torch.ops.<library>.<name>; got <built-in"):
        register(len, table.pointwise)
