"""Networks that other tools leave whole: constant splits whose size an attribute holds (B91), standardised weights
and noise in evaluation (B93). Each with the instances reported and others of their kind."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from survey_lib import load, prune, save

X = torch.ones(2, 4)


def same(model, masked, small, x):
    """Masked and cut answer the same in float64."""
    masked, small = masked.model.double(), small.model.double()
    return torch.allclose(masked(x), small(x), rtol=1e-9, atol=1e-12)


class Held(nn.Module):
    """Splits what a layer makes by sizes that it holds, into two equal parts or three, as one of these spells it."""

    def __init__(self, spelling, width=6):
        super().__init__()
        self.spelling, self.width, self.rest = spelling, width, 2 * width
        self.sizes, self.fixed_sizes = [width, 2 * width], (width, 2 * width)
        self.a, self.o = nn.Linear(4, 3 * width), nn.Linear(width, 2)

    def forward(self, x):
        h = self.a(x)
        if self.spelling == "one width":
            first, second, third = h.split(self.width, 1)
            return self.o(first * second.sigmoid() + third)
        if self.spelling == "slices":
            return self.o(h[:, : self.width] * h[:, -self.width :].sigmoid())
        sizes = {"list": self.sizes, "tuple": self.fixed_sizes, "widths": [self.width, self.rest]}
        first, second = torch.split(h, sizes[self.spelling], 1)
        return self.o(first * second.chunk(2, 1)[0].sigmoid())


@pytest.mark.parametrize("spelling", ["one width", "slices", "list", "tuple", "widths"])
def test_b91_a_split_by_sizes_that_attributes_hold_loses_the_same_places_of_each_part(spelling, tmp_path):
    model = Held(spelling)
    masked, small = (prune(model, "l1-filter", 0.5, example=X, cut=cut) for cut in (False, True))
    rows = small.masks["a.weight"].all(1).view(3, 6)
    assert rows.sum() == 9 and (rows == rows[0]).all()
    assert (small.model.width, small.model.a.out_features, small.model.o.in_features) == (3, 9, 3)
    assert type(small.model.sizes) is list and type(small.model.fixed_sizes) is tuple
    save(small, tmp_path / "small.safetensors")
    again = load(tmp_path / "small.safetensors", Held(spelling)).model
    x = torch.randn(3, 4)
    assert torch.equal(again(x), small.model(x)) and type(again.sizes) is list
    assert same(model, masked, small, x.double())


@pytest.mark.parametrize("width", [3, 4])
def test_b91_a_split_by_a_literal_is_refused_and_says_so(width):
    class Literal(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 2 * width), nn.Linear(width, 2)

        def forward(self, x):
            first, second = self.a(x).split(width, 1)
            return self.b(first * second)

    with pytest.raises(ValueError, match="constant sizes on the channel axis"):
        prune(Literal(), "l1-filter", 0.5, example=X)


def test_b91_a_number_that_happens_to_be_a_bound_is_no_width():
    class Leading(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers, self.a, self.b = 1, nn.Linear(4, 16), nn.Linear(16, 2)

        def forward(self, x):
            h = self.a(x)
            return self.b(torch.cat([h[:, : self.layers] * 2, h[:, 1:]], 1).relu())

    result = prune(Leading(), "l1-filter", 0.5, example=X)
    assert result.model.a.out_features == 8 and result.model.layers == 1
    assert bool(result.masks["a.weight"][0].all())  # the addressed channel stays


def by_batch_norm(w, c):
    return F.batch_norm(w.reshape(1, c, -1), None, None, training=True, momentum=0.0).reshape_as(w)


def by_moments(w, c):
    return (w - w.mean((1, 2, 3), keepdim=True)) / (w.std((1, 2, 3), keepdim=True) + 1e-5)


def by_flat_moments(w, c):
    flat = w.view(c, -1)
    return ((flat - flat.mean(1, keepdim=True)) / (flat.var(1, keepdim=True) + 1e-5).sqrt()).view_as(w)


def by_layer_norm(w, c):
    return F.layer_norm(w, w.shape[1:])


class Standardised(nn.Conv2d):
    """A convolution whose weight is standardised over its inputs at every call (timm's StdConv2d, NF networks)."""

    def __init__(self, how, *sizes):
        super().__init__(*sizes, padding=1)
        self.how = how

    def forward(self, x):
        weight = self.how(self.weight, self.out_channels)
        return F.conv2d(x, weight, self.bias, padding=1)


@pytest.mark.parametrize("how", [by_batch_norm, by_moments, by_flat_moments, by_layer_norm])
def test_b93_standardised_weights_are_cut_and_taken_over_kept_channels(how):
    layers = Standardised(how, 3, 8, 3), nn.ReLU(), Standardised(how, 8, 6, 3), nn.ReLU(), nn.Conv2d(6, 2, 1)
    model, x = nn.Sequential(*layers), torch.randn(1, 3, 8, 8)
    result = prune(model, "l1-filter", 0.5, example=x)
    small = result.model
    assert (small[0].out_channels, small[2].in_channels, small[2].out_channels) == (4, 4, 3)
    assert list(result.over_kept) == ["2"]  # the first one reads all three colours
    kept = model[2].weight.detach()[result.masks["2.weight"].flatten(1).any(1)]
    kept = kept[:, result.masks["0.weight"].flatten(1).all(1)]
    expected = F.conv2d(small[1](small[0](x)), how(kept, 3), small[2].bias, padding=1)
    assert torch.allclose(small[2](small[1](small[0](x))), expected, atol=1e-6)


@pytest.mark.parametrize(
    "noise",
    [
        lambda h: h + torch.randn_like(h),
        lambda h: h + torch.randn(h.shape),
        lambda h: h + 0.1 * torch.rand(h.shape[0], 1),
        lambda h: F.dropout(h, 0.2, training=True),
        lambda h: h + torch.empty_like(h).normal_(),
        lambda h: h * torch.bernoulli(torch.full_like(h, 0.5)),
    ],
)
def test_b93_noise_in_evaluation_refuses_nothing(noise):
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x):
            return self.c(self.b(noise(self.a(x)).relu()).relu())

    result = prune(Noisy(), "l1-filter", 0.5, example=X)
    assert (result.model.a.out_features, result.model.b.out_features) == (4, 4)
    assert dict(result.skipped) == {"c": "reaches the model's output"}
