"""`prune` within a budget: the mildest cut that fits, traced and scored once, measured by an independent count."""

import itertools

import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from survey_lib import measure, prune


def chain(*widths: int) -> nn.Module:
    layers = [nn.Linear(a, b) for a, b in zip(widths, widths[1:], strict=False)]
    return nn.Sequential(*(module for layer in layers for module in (layer, nn.ReLU())))[:-1]


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def shares(dense: nn.Module, pruned: nn.Module, example) -> tuple[float, float]:
    """MACs and parameters that are left."""
    before, after = measure(dense, example), measure(pruned, example)
    return after["macs"] / before["macs"], after["parameters"] / before["parameters"]


def test_half_the_macs_by_hand():
    """4·h + h·2 MACs: half of them stay with half of the 80 channels, and not with 41."""
    model, x = chain(4, 80, 2), torch.ones(1, 4)
    result = prune(model, "l1-filter", macs=0.5, example=x)
    assert result.model[0].out_features == 40 and result.sparsity == 0.5
    masked = prune(model, "l1-filter", macs=0.5, example=x, cut=False)
    assert all(torch.equal(masked.masks[name], mask) for name, mask in result.masks.items())


def test_parameters_that_no_method_prunes_count():
    """4·h + h + h·2 + 2 = 7·h + 2 of 562 parameters: 280 are 7·39 + 2 = 275 and more, 7·40 + 2 = 282 too many."""
    result = prune(chain(4, 80, 2), "l1-filter", parameters=0.5, example=torch.ones(1, 4))
    assert result.model[0].out_features == 39 and count(result.model) == 275


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(16, 60), min_size=1, max_size=4),
    st.floats(0.15, 1.0),
    st.sampled_from(["macs", "parameters"]),
    st.sampled_from(["l1-filter", "group-norm", "random-filter"]),
)
def test_the_budget_is_kept_and_used(widths, limit, kind, method):
    """At least 90 % is used, or no layer can have one channel more."""
    model, x = chain(6, *widths, 3), torch.randn(2, 6)
    small = prune(model, method, example=x, **{kind: limit}).model

    def spent(widths):
        return shares(model, chain(6, *widths, 3), x)[kind == "parameters"]

    left = [layer.out_features for layer in small[:-1:2]]
    more = [[*left[:i], width + 1, *left[i + 1 :]] for i, width in enumerate(left) if width < widths[i]]
    assert spent(left) <= limit + 1e-9
    assert spent(left) >= 0.9 * limit or all(spent(wider) > limit for wider in more)


def test_a_budget_of_one_removes_nothing():
    model = chain(4, 8, 2)
    assert prune(model, "l1-filter", macs=1, example=torch.ones(1, 4)).sparsity == 0


def test_coarse_groups_are_filled_one_by_one():
    """Three groups of four channels: with 3 each 42 of 64 MACs stay, with 2 each 24; other widths come up to 32."""
    small = prune(chain(4, 4, 4, 4, 4), "l1-filter", macs=0.5, example=torch.ones(1, 4)).model
    a, b, c = (small[i].out_features for i in (0, 2, 4))
    choices = [4 * a + a * b + b * c + c * 4 for a, b, c in itertools.product(range(1, 5), repeat=3)]
    assert 0.9 * max(spent for spent in choices if spent <= 32) <= 4 * a + a * b + b * c + c * 4 <= 32


def test_data_is_looked_at_once_whatever_the_search(net, batches):
    seen = []

    def loss(output, y):
        seen.append(len(y))
        return F.cross_entropy(output, y)

    x = batches[0][0]
    prune(net, "taylor-filter", 0.5, example=x, batches=batches, loss=loss)
    once = len(seen)
    small = prune(net, "taylor-filter", macs=0.4, example=x, batches=batches, loss=loss).model
    assert len(seen) == 2 * once and shares(net, small, x)[0] <= 0.4


@pytest.mark.parametrize("method", ["thinet", "lasso", "eagleeye", "isomorphic", "slimming"])
def test_methods_that_repair_search_or_rank_by_structure(net, batches, method):
    x = batches[0][0]
    small = prune(net, method, parameters=0.5, example=x, batches=batches).model
    assert 0.4 <= shares(net, small, x)[1] <= 0.5  # two groups of eight channels, a step is 0.09


def test_a_torchvision_model():
    torch.manual_seed(0)
    model, x = torchvision.models.mobilenet_v3_small(weights=None).eval(), torch.randn(1, 3, 64, 64)
    small = prune(model, "l1-filter", macs=0.5, example=x).model
    assert 0.495 <= shares(model, small, x)[0] <= 0.5
    assert small(torch.randn(2, 3, 96, 96)).shape == (2, 1000)


def test_a_transformer_block_with_tied_counts():
    """Attention multiplies activations by activations; heads and trunk lose the same fraction."""
    torch.manual_seed(0)
    block = nn.TransformerEncoderLayer(32, 8, 64, batch_first=True)
    model, x = nn.Sequential(nn.Linear(8, 32), block, nn.Linear(32, 5)).eval(), torch.randn(2, 6, 8)
    small = prune(model, "l1-filter", macs=0.6, example=x).model
    assert 0.54 <= shares(model, small, x)[0] <= 0.6


class Literal(nn.Module):
    """`a` cannot be cut: the code states its width."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 32, 3), nn.Linear(32, 4)

    def forward(self, x):
        x = self.a(x)
        return self.c(self.b(x.view(len(x), 16, *x.shape[2:])).relu().mean((2, 3)))


def test_other_groups_make_up_for_a_refused_one():
    model, x = Literal().eval(), torch.randn(2, 3, 12, 12)
    result = prune(model, "l1-filter", macs=0.5, example=x)
    assert "fails" in dict(result.skipped)["a"] and result.model.a.out_channels == 16
    assert 0.45 <= shares(model, result.model, x)[0] <= 0.5


@pytest.mark.parametrize("method", ["block-influence"])
def test_blocks_go_until_the_macs_fit(net, batches, method):
    """Stem 3, five 3x3 convolutions 72 and head 4 / 64 times 8 a position: two of four blocks must go for 0.65."""
    x = batches[0][0]
    result = prune(net, method, macs=0.65, example=x, batches=batches)
    assert result.sparsity == 0.5 and 0.58 < shares(net, result.model, x)[0] <= 0.65


# masked weights


@pytest.mark.parametrize(
    "method, wishes",
    [
        ("magnitude", {"scope": "erk"}),
        ("magnitude", {"scope": "global"}),
        ("lamp", {}),
        ("kernel", {}),
    ],
)
@pytest.mark.parametrize("kind", ["macs", "parameters"])
def test_of_masked_weights_those_that_are_not_zero_count(net, batches, method, wishes, kind):
    x = batches[0][0]
    result = prune(net, method, example=x, batches=batches, **wishes, **{kind: 0.3})
    dense, found = measure(net, x), measure(result.model, x)
    assert 0.27 <= found[f"nonzero_{kind}"] / dense[kind] <= 0.3


def test_parameters_of_a_masked_model_need_no_example():
    """16 of 48 weights stay next to 4 + 4 biases: 24 of 56 parameters."""
    torch.manual_seed(0)
    result = prune(chain(8, 4, 4), "magnitude", parameters=24 / 56, scope="global")
    assert sum(int(mask.sum()) for mask in result.masks.values()) == 16


@pytest.mark.parametrize("method", ["synflow", "sparsegpt", "nm-magnitude"])
def test_costs_that_cannot_be_foreseen_are_refused(method):
    with pytest.raises(ValueError, match="cannot be foreseen; give sparsity="):
        prune(chain(8, 40, 3), method, parameters=0.2, example=torch.ones(1, 8))


# a cost of the caller's own


@pytest.mark.parametrize("method", ["l1-filter", "magnitude"])
def test_any_cost_with_its_limit(method):
    def nonzero(model):
        return sum(int(parameter.count_nonzero()) for parameter in model.parameters())

    model = chain(6, 40, 40, 3)  # 2,043 parameters
    result = prune(model, method, cost=nonzero, at_most=1000, example=torch.ones(1, 6))
    assert 900 <= nonzero(result.model) <= 1000


@pytest.mark.parametrize(
    "wishes, message",
    [
        ({}, "got none"),
        ({"sparsity": 0.5, "macs": 0.5}, "got sparsity, macs"),
        ({"macs": 0.5, "parameters": 0.5}, "got macs, parameters"),
        ({"cost": count}, "at_most"),
        ({"sparsity": 0.5, "at_most": 3}, "at_most"),
        ({"macs": 0}, r"in \(0, 1\]; got 0"),
        ({"macs": 50}, r"in \(0, 1\]; got 50"),
        ({"parameters": "half"}, r"in \(0, 1\]; got 'half'"),
        ({"parameters": 0.01}, "cannot be met: the smallest result costs 0.016"),
        ({"cost": count, "at_most": 3}, "cannot be met: the smallest result costs 9"),
    ],
)
def test_wrong_budgets_are_named(wishes, message):
    with pytest.raises(ValueError, match=message):
        prune(chain(4, 80, 2), "l1-filter", example=torch.ones(1, 4), **wishes)


def test_macs_need_an_example():
    with pytest.raises(ValueError, match="give example="):
        prune(chain(4, 8, 2), "magnitude", macs=0.5)
