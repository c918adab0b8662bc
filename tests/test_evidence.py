"""Evidence of weights: what is observed, by hand and against torch, and that the model stays as found."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from survey_lib.chain.evidence import weights as observe
from survey_lib.chain.evidence.base import collect, layer_seed
from survey_lib.chain.masks import prunable
from survey_lib.methods.weight.solve import damped, least_squares


def half_square(output, target):
    return 0.5 * (output - target).square().sum()


def linear(*rows) -> nn.Linear:
    weight = torch.tensor(rows, dtype=torch.float32)
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight.data = weight
    return layer


def seen(model, needs, batches, **wishes):
    return collect(model, ["weight"], needs, batches, half_square, **wishes)["weight"]


# loss ½ (w·x − t)²: gradient (w·x − t) x, Hessian x xᵀ
BATCHES = [
    (torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0]])),
    (torch.tensor([[3.0, 0.0]]), torch.tensor([[3.0]])),
]


def test_gradients_by_hand():
    found = seen(
        linear([1.0, 1.0]), ("grad", "grad_sq", "example_grad_sq"), BATCHES
    )  # gradients [2, 4] and [0, 0]
    assert torch.equal(found.grad, torch.tensor([[1.0, 2.0]]))
    assert torch.equal(found.grad_sq, torch.tensor([[2.0, 8.0]]))
    assert torch.equal(found.example_grad_sq, torch.tensor([[2.0, 8.0]]))


def test_single_examples_are_squared_before_the_mean_and_batches_after():
    together = [(torch.cat([x for x, _ in BATCHES]), torch.cat([y for _, y in BATCHES]))]
    found = seen(linear([1.0, 1.0]), ("grad_sq", "example_grad_sq"), together)
    assert torch.equal(found.grad_sq, torch.tensor([[4.0, 16.0]]))  # of the summed gradient [2, 4]
    assert torch.equal(found.example_grad_sq, torch.tensor([[2.0, 8.0]]))


def test_hessian_times_gradient_by_hand_and_against_the_exact_hessian(net, batches):
    # g = [1, 2]; H g averaged: ½ ([1, 2] (1 + 4) + [3, 0] 3)
    assert torch.equal(
        seen(linear([1.0, 1.0]), ("hess_grad",), BATCHES).hess_grad, torch.tensor([[7.0, 5.0]])
    )
    net = net.double()
    batches = [(x.double(), y) for x, y in batches]
    found = collect(net, ["head.weight"], ("grad", "hess_grad"), batches, F.cross_entropy)["head.weight"]

    def loss(weight):
        outputs = [torch.func.functional_call(net, {"head.weight": weight}, x) for x, _ in batches]
        return sum(F.cross_entropy(o, y) for o, (_, y) in zip(outputs, batches, strict=True)) / len(batches)

    hessian = torch.func.hessian(loss)(found.weight).reshape(32, 32)
    assert torch.allclose(hessian @ found.grad.flatten(), found.hess_grad.flatten(), rtol=1e-9, atol=1e-12)


def test_default_loss_of_hess_grad_divides_the_logits_by_200(net, batches):
    def cooled(output, y):
        return F.cross_entropy(output / 200, y)

    default, explicit = (
        collect(net, ["head.weight"], ("hess_grad",), batches, loss)["head.weight"].hess_grad
        for loss in (None, cooled)
    )
    assert torch.equal(default, explicit)


@settings(max_examples=25, deadline=None)
@given(
    groups=st.sampled_from([1, 2, 4]),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 2),
    padding=st.sampled_from([0, 1, (2, 1), "same", "valid"]),
    mode=st.sampled_from(["zeros", "reflect", "circular"]),
    seed=st.integers(0, 1000),
)
def test_weight_times_columns_is_the_convolution(groups, kernel, stride, dilation, padding, mode, seed):
    torch.manual_seed(seed)
    stride = 1 if padding == "same" else stride
    layer = nn.Conv2d(4, 8, kernel, stride, padding, dilation, groups, bias=False, padding_mode=mode).double()
    x = torch.randn(2, 4, 7, 6, dtype=torch.float64)
    rows = layer.weight.flatten(1).unflatten(0, (groups, -1))
    expected = layer(x)
    output = (rows @ observe.input_columns(layer, x)).reshape(8, 2, *expected.shape[2:]).movedim(1, 0)
    assert torch.allclose(output, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (2, 2, 3, 5)])
def test_linear_layers_take_any_leading_shape(shape):
    layer, x = nn.Linear(5, 2), torch.randn(shape)
    found = collect(layer, ["weight"], ("act_norm", "gram"), [x])["weight"]
    tokens = x.reshape(-1, 5)
    assert torch.allclose(found.act_norm, tokens.norm(dim=0))
    assert torch.allclose(found.gram, (tokens.T @ tokens).double(), rtol=1e-5, atol=1e-6)


def test_conv1d_and_grouped_evidence_broadcast_against_the_weight():
    layer, x = nn.Conv1d(4, 6, 3, padding=1, groups=2, bias=False), torch.randn(20, 4, 9)
    found = collect(layer, ["weight"], ("act_norm", "gram"), [x])["weight"]
    assert found.act_norm.shape == layer.weight.shape and found.gram.shape == (2, 6, 6)
    assert torch.allclose(
        found.act_norm[0, :, 1], x[:, :2].movedim(1, 0).flatten(1).norm(dim=1)
    )  # kernel's centre
    assert torch.allclose(found.act_norm[5, :, 1], x[:, 2:].movedim(1, 0).flatten(1).norm(dim=1))


def test_a_layer_called_twice_is_seen_twice_and_examples_split_over_batches_add_up():
    shared = nn.Linear(3, 3)
    model, x = nn.Sequential(shared, shared), torch.randn(40, 3)
    whole, parts = (
        collect(model, ["0.weight"], ("gram",), b)["0.weight"].gram for b in ([x], [x[:7], x[7:]])
    )
    expected = sum((t.T @ t).double() for t in (x, shared(x).detach()))
    assert torch.allclose(whole, expected, rtol=1e-5) and torch.allclose(parts, whole, rtol=1e-5)


def test_flow_uses_absolute_parameters_and_statistics_in_float64(net):
    net.bn1.weight.data.neg_()
    found = collect(net, ["head.weight"], ("flow",), example=torch.randn(2, 3, 8, 8))["head.weight"]
    absolute = copy.deepcopy(net).double()
    for tensor in absolute.state_dict().values():
        tensor.abs_()
    absolute(torch.ones(1, 3, 8, 8, dtype=torch.float64)).sum().backward()
    assert found.flow.dtype == torch.float64
    assert torch.equal(found.flow, absolute.head.weight.grad)


class Raising(nn.Module):
    """A model that raises after its first layer has run."""

    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Linear(2, 2), nn.BatchNorm1d(2)

    def forward(self, x):
        self.norm(self.layer(x))
        raise RuntimeError("in the middle")


def test_the_model_stays_as_found_when_the_forward_raises():
    model, batch = Raising().train(), (torch.randn(4, 2), torch.zeros(4, dtype=torch.long))
    model.layer.weight.grad = torch.ones(2, 2)
    before, state = copy.deepcopy(model.state_dict()), torch.random.get_rng_state()
    for need in observe.NEEDS:
        with pytest.raises(ValueError, match="in the middle"):
            collect(model, ["layer.weight"], (need,), [batch])
    assert all(torch.equal(model.state_dict()[k], v) for k, v in before.items())
    assert torch.equal(torch.random.get_rng_state(), state) and model.training and model.norm.training
    assert torch.equal(model.layer.weight.grad, torch.ones(2, 2)) and not model.layer._forward_pre_hooks


def test_batch_statistics_normalise_by_the_batch(net, batches):
    running, batch = (
        collect(net, ["head.weight"], ("grad",), batches, batch_statistics=use)["head.weight"].grad
        for use in (False, True)
    )
    trained = copy.deepcopy(net).train()
    losses = [F.cross_entropy(trained(x), y) for x, y in batches]
    (sum(losses) / len(losses)).backward()
    assert torch.allclose(batch, trained.head.weight.grad, atol=1e-7)
    assert not torch.allclose(batch, running, atol=1e-3)


def test_frozen_weights_and_a_caller_without_gradients_are_observed(net, batches):
    net.requires_grad_(False)
    with torch.no_grad():
        found = collect(net, list(prunable(net)), ("grad",), batches)
    assert all(evidence.grad.abs().sum() > 0 for evidence in found.values())
    assert not any(tensor.requires_grad for e in found.values() for tensor in (e.weight, e.grad))


def test_inputs_may_be_tuples_or_dicts():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = linear([1.0, 1.0])

        def forward(self, left, right):
            return self.layer(left + right)

    x, y = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0]])
    for inputs in ((x, x), {"left": x, "right": x}):
        found = collect(Sum(), ["layer.weight"], ("grad", "example_grad_sq"), [(inputs, y)], half_square)
        assert torch.equal(found["layer.weight"].grad, torch.tensor([[10.0, 20.0]]))  # (6 − 1) · 2x
        assert torch.equal(found["layer.weight"].example_grad_sq, torch.tensor([[100.0, 400.0]]))


@pytest.mark.parametrize("need", observe.NEEDS)
def test_missing_data_is_an_error_that_names_the_need(need):
    with pytest.raises(ValueError, match=f"needs '{need}'.*pass (batches|example)="):
        collect(nn.Linear(2, 2), ["weight"], (need,))


def test_wrong_requests_are_errors_that_say_what_is_allowed():
    x = torch.ones(1, 2)
    layer = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="gradient of the loss; pass batches of pairs"):
        collect(layer, ["weight"], ("grad",), [x])
    with pytest.raises(ValueError, match="needs 'grad', observed on data; pass batches"):
        collect(layer, ["weight"], ("grad",), [])
    with pytest.raises(ValueError, match="'gradient' is unknown; what one can collect here is grad"):
        collect(layer, ["weight"], ("gradient",), [x])
    with pytest.raises(ValueError, match="'gamma' is unknown"):
        collect(layer, ["weight"], ("gamma",), [x])
    attention = nn.MultiheadAttention(2, 1)
    with pytest.raises(ValueError, match="no input of out_proj.weight was seen"):
        collect(attention, ["out_proj.weight"], ("gram",), [{k: x for k in ("query", "key", "value")}])


def test_b55_layer_seeds_depend_on_seed_and_name_only():
    assert layer_seed(0, "a") != layer_seed(0, "b") != layer_seed(1, "b")
    model = nn.ModuleDict({name: nn.Linear(2, 2) for name in "ab"})
    found = [collect(model, [f"{name}.weight" for name in order], seed=7) for order in ("ab", "ba")]
    assert found[0]["a.weight"].seed == found[1]["a.weight"].seed


def test_least_squares_is_the_brute_force_solution():
    generator = torch.Generator().manual_seed(0)
    weight, x = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((3, 5), (5, 40)))
    keep = torch.tensor([True, False, True, True, False])
    solved = least_squares(weight, x @ x.T, keep)
    brute = torch.linalg.lstsq(x[keep].T, (weight @ x).T).solution.T
    assert torch.allclose(solved[:, keep], brute, rtol=1e-9) and not solved[:, ~keep].any()
    assert not least_squares(weight, x @ x.T, torch.zeros(5, dtype=torch.bool)).any()


def test_damping_is_one_percent_of_the_mean_diagonal_and_dead_inputs_are_named():
    hessian, dead = damped(torch.diag(torch.tensor([3.0, 0.0])))
    assert torch.allclose(hessian, torch.diag(torch.tensor([3.02, 1.02], dtype=torch.float64)))
    assert dead.tolist() == [False, True]
