"""The caller's model is bit for bit what it was, after every public call, however it is built (cases B72 and B84)."""

import threading

import pytest
import torch
from torch import nn

import survey_lib
from survey_lib import METHODS, prune
from survey_lib.measure.timing import compare_latency, operators

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
X, Y = torch.arange(12).view(3, 4), torch.tensor([0, 1, 0])


class Nasty(nn.Module):
    """Words to classes; what makes it nasty is added by `nasty`."""

    def __init__(self, max_norm=None):
        super().__init__()
        self.words, self.hidden, self.head = (
            nn.Embedding(12, 6, max_norm=max_norm),
            nn.Linear(6, 8),
            nn.Linear(8, 2),
        )
        self.log, self.last = [], None
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        return self.head(self.hidden(self.words(x).mean(1)).relu())


class Counting(Nasty):
    def forward(self, x):
        self.log.append(len(self.log))
        self.calls += 1
        return super().forward(x)


class Reassigning(Nasty):
    """A buffer that is replaced, not written to, and a weight clamped through its data."""

    def forward(self, x):
        self.calls = self.calls + 1
        self.hidden.weight.data = self.hidden.weight.data.clamp(-0.1, 0.1)
        return super().forward(x)


class Writing(Nasty):
    """A tensor that is neither parameter nor buffer, written in place."""

    def __init__(self):
        super().__init__()
        self.plain = torch.zeros(8)

    def forward(self, x):
        self.plain.add_(self.hidden(self.words(x).mean(1)).detach().abs().mean(0) + 1)
        return super().forward(x)


class Keeping(Nasty):
    def forward(self, x):
        self.last = self.hidden(self.words(x).mean(1)).relu()
        self.log.append(self.last)
        return self.head(self.last)


def nasty(kind: str) -> nn.Module:
    torch.manual_seed(0)
    model = {
        "renormalised": lambda: Nasty(0.5),
        "counting": Counting,
        "reassigning": Reassigning,
        "writing": Writing,
        "keeping": Keeping,
    }
    model = model.get(kind, Nasty)()
    if kind == "hooked":
        model.hidden.register_forward_hook(
            lambda *_: model.hidden.weight.data.mul_(0.9) is None or model.log.append(1)
        )
    if kind == "listed twice":
        model.again = nn.ModuleList([model.hidden, model.hidden])
    if kind == "tied":
        model.other = nn.Linear(6, 12, bias=False)
        model.other.weight = model.words.weight
    if kind == "locked":
        model.lock, model.stream = threading.Lock(), (number for number in range(3))
    if kind == "reparametrised":
        model.hidden = nn.utils.weight_norm(model.hidden)
    if kind in ("keeping", "reparametrised"):
        model(X)
    return model.eval()


KINDS = [
    "renormalised",
    "counting",
    "reassigning",
    "writing",
    "keeping",
    "hooked",
    "listed twice",
    "tied",
    "locked",
    "reparametrised",
]
CALLS = {
    "measure": lambda model: survey_lib.measure(model, X),
    "latency": lambda model: survey_lib.latency(model, X, seconds=0.001),
    "compare_latency": lambda model: compare_latency({"a": model}, X, seconds=0.001, rounds=1),
    "operators": lambda model: operators(model, X, repeats=1),
    "trace": lambda model: survey_lib.trace(model, X),
    "recalibrate": lambda model: survey_lib.recalibrate(model, [X]),
    "finetune": lambda model: survey_lib.finetune(model, [(X, Y)], epochs=1, teacher=model),
    "magnitude": lambda model: prune(model, "magnitude", 0.5),
    "cut": lambda model: prune(model, "l1-filter", macs=0.7, example=X),
    "wanda": lambda model: prune(model, "wanda", 0.5, batches=[(X, Y)]),
    "hrank": lambda model: prune(model, "hrank", 0.5, example=X, batches=[(X, Y)]),
    "thinet": lambda model: prune(model, "thinet", 0.5, example=X, batches=[(X, Y)]),
}


def state(model: nn.Module) -> tuple:
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    tensors |= {name: value for name, value in vars(model).items() if name == "plain"}
    modes = [module.training for module in model.modules()]
    hooks = [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()]
    found = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    return found, modes, hooks, len(model.log), id(model.last), torch.get_rng_state()


def same(first: tuple, second: tuple) -> bool:
    (tensors, *rest, random), (others, *more, randomly) = first, second
    equal = tensors.keys() == others.keys() and all(
        torch.equal(tensors[name], others[name]) for name in tensors
    )
    return equal and rest == more and torch.equal(random, randomly)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("call", CALLS)
def test_b72_every_public_call_leaves_the_model_as_it_was(call, kind):
    model = nasty(kind)
    before = state(model)
    try:
        CALLS[call](model)
    except ValueError as error:  # a weight computed from others cannot be cut
        assert kind == "reparametrised" and "fold it" in str(error)
    assert same(state(model), before)


def test_b72_a_hook_that_writes_does_not_reach_the_result():
    plain, hooked = nasty("plain"), nasty("hooked")
    for method in ("magnitude", "l1-filter", "wanda"):
        found = [
            prune(model, method, 0.5, example=X, batches=[(X, Y)]).model.state_dict()
            for model in (plain, hooked)
        ]
        assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


@pytest.mark.parametrize("method", ["magnitude", "l1-filter"])
def test_b84_averaged_models_are_unwrapped_and_their_names_understood(method):
    averaged = torch.optim.swa_utils.AveragedModel(plain())
    result = prune(averaged, method, 0.5, example=torch.ones(2, 4), layers=["module.0"])
    assert list(result.report["layer"]) == ["0"] and isinstance(result.model, nn.Sequential)


def test_b84_models_that_are_distributed_are_unwrapped(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(plain())
        result = prune(wrapped, "l1-filter", 0.5, example=torch.ones(2, 4), layers=["module.0"])
    finally:
        torch.distributed.destroy_process_group()
    assert result.model[0].out_features == 4


def without_values() -> nn.Module:
    with torch.device("meta"):
        return plain()


def eight_bits(dtype) -> nn.Module:
    model = plain()
    model[0].weight = nn.Parameter(model[0].weight.to(dtype), requires_grad=False)
    return model


UNFIT = {
    "ScriptModule": lambda: torch.jit.script(plain()),
    "meta tensor": without_values,
    "not initialised": lambda: nn.Sequential(nn.LazyLinear(3)),
    "float8_e4m3fn": lambda: eight_bits(torch.float8_e4m3fn),
    "quantized": lambda: torch.ao.quantization.quantize_dynamic(plain()),
}


@pytest.mark.parametrize("kind", UNFIT)
@pytest.mark.parametrize("method", ["magnitude", "l1-filter"])
def test_b84_models_that_cannot_be_pruned_are_refused_by_their_kind(kind, method):
    with pytest.raises(ValueError, match=kind):
        prune(UNFIT[kind](), method, 0.5, example=torch.ones(2, 4))


class Padded(nn.Module):
    """An encoder of torch with a padding mask: its fast path knows only whole layers."""

    def __init__(self, layers):
        super().__init__()
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), layers)
        self.head = nn.Linear(8, 2)

    def forward(self, x, padding=None):
        return self.head(self.encoder(x, src_key_padding_mask=padding)[:, 0])


PADDING = torch.tensor([[False] * 5, [False] * 4 + [True]])
ONE_CALL = [
    n
    for n, row in METHODS.items()
    if (row.score or row.solve)
    and row.category not in ("head",)
    and row.unit not in ("kernel", "vector")
    and "gamma" not in row.needs
]


@pytest.mark.parametrize("method", ONE_CALL)
def test_b81_attention_of_torch_runs_layer_by_layer_for_every_method(method):
    x = {"x": torch.randn(2, 5, 8), "padding": PADDING}
    layers = 2 if METHODS[method].unit == "layer" else 1
    result = prune(Padded(layers).eval(), method, 0.5, example=x, batches=[(x, torch.tensor([0, 1]))] * 2)
    assert 0 < result.sparsity < 1


def test_b83_two_inputs_without_targets_are_not_taken_for_a_pair():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(4, 4)

        def forward(self, first, second, use_cache=True):
            return self.a(first + second)

    pair = torch.randn(4, 4), torch.randn(4, 4)
    with pytest.raises(ValueError, match="two inputs without targets are"):
        prune(Sum(), "wanda", 0.5, batches=[pair])
    prune(Sum(), "wanda", 0.5, batches=[(pair, None)])
    named = {"first": pair[0], "second": pair[1], "use_cache": False}  # no tensor
    for method in ("obd", "taylor-weight"):
        assert prune(Sum(), method, 0.5, batches=[(named, torch.arange(4))]).sparsity == 0.5


class Blurred(nn.Module):
    """A fixed kernel that is a buffer."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 1)
        self.register_buffer("blur", torch.rand(8, 1, 3, 3))

    def forward(self, x):
        x = self.a(x).relu()
        h = nn.functional.conv2d(x, self.blur, padding=1, groups=x.shape[1])
        return self.b(h).mean((2, 3))


class Scaled(nn.Module):
    """A fixed table of scales."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 2)
        self.register_buffer("mix", torch.rand(8, 8))

    def forward(self, x):
        return self.b(self.a(x).relu() @ self.mix)


class Force(nn.Module):
    """Takes a gradient inside its forward."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 1)

    def forward(self, x):
        with torch.enable_grad():
            x = x.detach().clone().requires_grad_()
            return torch.autograd.grad(self.b(self.a(x).tanh()).sum(), x, create_graph=True)[0]


@pytest.mark.parametrize("method", ["l1-filter", "group-norm", "taylor-filter", "hrank", "obd-filter"])
def test_b82_a_kernel_in_a_buffer_is_cut_along_and_not_scored(method):
    x = torch.randn(2, 3, 8, 8)
    result = prune(Blurred(), method, 0.5, example=x, batches=[(x, torch.arange(2))])
    assert (result.model.a.out_channels, tuple(result.model.blur.shape)) == (4, (4, 1, 3, 3))


def test_b82_a_mixing_table_in_a_buffer_is_no_producer():
    assert prune(Scaled(), "l1-filter", 0.5, example=torch.randn(2, 4)).model.a.out_features == 4


def test_b82_a_gradient_inside_the_forward_is_followed_or_refused_with_a_reason():
    model, x = Force(), torch.randn(2, 4)
    try:
        result = prune(model, "l1-filter", 0.5, example=x)
    except ValueError as error:
        assert "no channel can be cut: " in str(error)
    else:
        assert result.sparsity > 0


class Frozen(dict):
    """A configuration that refuses to be written to, as those of diffusers do."""

    def __setitem__(self, *_):
        raise TypeError("frozen")

    update = clear = __setitem__


def test_b72_a_frozen_configuration_stays_as_it_is_and_stops_nothing(net, batches):
    net.config = Frozen(width=8)
    survey_lib.prune(net, "l1-filter", 0.5, example=batches[0][0])
    survey_lib.measure(net, batches[0][0])
    assert net.config == {"width": 8}
