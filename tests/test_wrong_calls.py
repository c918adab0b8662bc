"""Wrong calls are refused before any work; the error names the value, what is allowed and what to do next (case B96)."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import survey_lib
from survey_lib import during, finetune, hold, latency, measure, prune, recalibrate, trace
from survey_lib.measure import compare_latency

pytestmark = pytest.mark.filterwarnings("ignore")
X, Y = torch.ones(4, 3, 8, 8), torch.tensor([0, 1, 2, 0])
PAIR = [(X, Y)]


def network():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(8 * 16, 3))


def sgd(model):
    return torch.optim.SGD(model.parameters(), lr=0.1)


class Named(nn.Module):
    """Returns a dict."""

    def __init__(self):
        super().__init__()
        self.body = network()

    def forward(self, x):
        return {"scores": self.body(x)}


@torch.library.custom_op("survey_tests::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    return x * 2


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.b(torch.ops.survey_tests.twice(self.a(x)))


TAKE_A_MODEL = {
    "prune": lambda model: prune(model, "magnitude", 0.5),
    "trace": lambda model: trace(model, X),
    "measure": lambda model: measure(model, X),
    "latency": lambda model: latency(model, X, seconds=0.01),
    "compare_latency": lambda model: compare_latency({"a": network(), "b": model}, X, seconds=0.01),
    "finetune": lambda model: finetune(model, PAIR, epochs=1),
    "teacher": lambda model: finetune(network(), PAIR, epochs=1, teacher=model),
    "recalibrate": lambda model: recalibrate(model, [X]),
    "during": lambda model: during(model, "gradual", 0.5, sgd(network()), 3),
    "hold": lambda model: hold(model, {}, sgd(network())),
    "masks_from_torch": survey_lib.masks_from_torch,
    "load": lambda model: survey_lib.load("small.safetensors", model),
}
NO_MODEL = {
    "result": (lambda: prune(network(), "magnitude", 0.5), "got PruneResult: pass result.model"),
    "state dict": (lambda: network().state_dict(), "got OrderedDict: pass the torch.nn.Module"),
    "class": (lambda: nn.Linear, "got type: pass the torch.nn.Module"),
    "path": (lambda: "model.pt", "got str: pass the torch.nn.Module"),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(3)), "0.weight is not initialised yet"),
    "meta": (lambda: network().to("meta"), "0.weight is a meta tensor"),
}


@pytest.mark.parametrize("call", TAKE_A_MODEL)
@pytest.mark.parametrize("kind", NO_MODEL)
def test_b96_what_is_no_model_with_values_is_refused_by_every_call(call, kind):
    make, message = NO_MODEL[kind]
    with pytest.raises(ValueError, match=message):
        TAKE_A_MODEL[call](make())


@pytest.mark.parametrize("call", ["measure", "finetune", "teacher", "recalibrate", "during", "trace"])
def test_b96_models_whose_weights_cannot_be_read_are_refused_but_can_be_timed(call):
    quantized = torch.ao.quantization.quantize_dynamic(network(), {nn.Linear})
    for model, message in (
        (quantized, "5 is a quantized Linear"),
        (torch.jit.script(network()), "ScriptModule"),
    ):
        with pytest.raises(ValueError, match=message):
            TAKE_A_MODEL[call](model)
        assert latency(model, X, seconds=0.001)["batch"] == 4


TAKE_DATA = {
    "prune": lambda batches: prune(network(), "taylor-filter", 0.5, example=X, batches=batches),
    "finetune": lambda batches: finetune(network(), batches, epochs=1),
    "recalibrate": lambda batches: recalibrate(network(), batches),
}
NO_BATCHES = {
    "pair": ((X, Y), r"got tuple of \(Tensor \(4, 3, 8, 8\) float32, Tensor \(4,\) int64\)"),
    "tensor": (X, r"got Tensor \(4, 3, 8, 8\) float32"),
    "data set": (torch.utils.data.TensorDataset(X, Y), "got TensorDataset"),
    "number": (3, "got 3"),
    "nothing": (None, "got None"),
    "empty": ([], "got list of"),
}


@pytest.mark.parametrize("call", TAKE_DATA)
@pytest.mark.parametrize("kind", NO_BATCHES)
def test_b96_what_holds_no_batches_is_refused_before_the_model_runs(call, kind, monkeypatch):
    monkeypatch.setattr(nn.Conv2d, "forward", None)  # must not be called
    batches, message = NO_BATCHES[kind]
    with pytest.raises(ValueError, match=f"a list or DataLoader of .inputs, targets.*{message}"):
        TAKE_DATA[call](batches)


TAKE_AN_EXAMPLE = {
    "trace": lambda x: trace(network(), x),
    "prune": lambda x: prune(network(), "l1-filter", 0.5, example=x),
    "measure": lambda x: measure(network(), x),
    "latency": lambda x: latency(network(), x, seconds=0.01),
}
NO_EXAMPLE = {
    "array": (X.numpy(), r"example must be a tensor.*got ndarray \(4, 3, 8, 8\) float32"),
    "shape": ((1, 3, 8, 8), r"example must be a tensor.*got tuple of \(1, 3, 8, 8\)"),
    "one image": (X[0], r"does not run on Tensor \(3, 8, 8\) float32; an example is one batch.*got 3D input"),
    "one channel": (X[:, :1], r"does not run on Tensor \(4, 1, 8, 8\) float32; an example is one batch"),
    "dtype": (X.double(), r"does not run on Tensor \(4, 3, 8, 8\) float64; an example is one batch"),
}


@pytest.mark.parametrize("call", TAKE_AN_EXAMPLE)
@pytest.mark.parametrize("kind", NO_EXAMPLE)
def test_b96_an_example_that_the_model_does_not_run_on_is_described(call, kind):
    example, message = NO_EXAMPLE[kind]
    with pytest.raises(ValueError, match=message):
        TAKE_AN_EXAMPLE[call](example)


def budget(**wishes):
    return prune(network(), "l1-filter", example=X, **wishes)


def cut(keep):
    model = network()
    return survey_lib.cut(model, trace(model, X), keep, X)


def tuned(**wishes):
    return finetune(network(), PAIR, **({"epochs": 1} | wishes))


WRONG = {
    "cost nan": (
        lambda: budget(cost=lambda m: math.nan, at_most=3),
        "cost.model. must be a finite number; got nan",
    ),
    "cost none": (lambda: budget(cost=lambda m: None, at_most=3), "must be a finite number; got None"),
    "cost name": (lambda: budget(cost="latency", at_most=3), "cost is a function.*got 'latency'"),
    "limit nan": (lambda: budget(cost=lambda m: 5.0, at_most=math.nan), "at_most a finite number; got .*nan"),
    "limit text": (lambda: budget(cost=lambda m: 5.0, at_most="3ms"), "at_most a finite number; got .*'3ms'"),
    "too small": (lambda: budget(parameters=0.001), "cannot be met.*ask for that"),
    "samples -1": (
        lambda: measure(network(), X, samples=-1),
        "samples must be at least 1, a whole number; got -1",
    ),
    "samples 0": (
        lambda: measure(network(), X, samples=0),
        "samples must be at least 1, a whole number; got 0",
    ),
    "samples 2.5": (
        lambda: latency(network(), X, samples=2.5),
        "samples must be at least 1, a whole number; got 2.5",
    ),
    "samples text": (
        lambda: measure(network(), X, samples="a"),
        "samples must be at least 1, a whole number; got 'a'",
    ),
    "seconds": (lambda: latency(network(), X, seconds=0), "seconds must be a positive number; got seconds=0"),
    "threads": (
        lambda: latency(network(), X, threads=0),
        "threads must be at least 1, a whole number; got 0",
    ),
    "rounds": (
        lambda: compare_latency({"a": network()}, X, rounds=0),
        "rounds must be at least 1, a whole number; got 0",
    ),
    "method none": (lambda: prune(network(), None, 0.5), "method must be a name in .*METHODS.*got NoneType"),
    "method row": (
        lambda: prune(network(), survey_lib.METHODS["magnitude"], 0.5),
        "such as 'magnitude'; got Method",
    ),
    "swapped": (lambda: prune("magnitude", network(), 0.5), "method must be a name.*got Sequential"),
    "masks": (
        lambda: prune(network(), "magnitude", 0.75, masks=prune(network(), "magnitude", 0.5)),
        "pass result.masks; got PruneResult",
    ),
    "masks measured": (
        lambda: measure(network(), X, prune(network(), "magnitude", 0.5)),
        "pass result.masks",
    ),
    "masks list": (
        lambda: measure(network(), X, {"5.weight": [True]}),
        r"must be bool.*got list of \(True\)",
    ),
    "no masks": (lambda: hold(model := network(), {}, sgd(model)), "masks is empty"),
    "not pruned": (lambda: survey_lib.masks_from_torch(network()), "nothing in the model is pruned"),
    "no layer": (
        lambda: during(model := nn.BatchNorm2d(3), "gradual", 0.5, sgd(model), 3),
        "finds nothing to prune",
    ),
    "no channel": (
        lambda: during(
            model := nn.Sequential(nn.Linear(4, 2)), "sfp", 0.5, sgd(model), 3, example=torch.ones(1, 4)
        ),
        "finds nothing to prune",
    ),
    "steps": (
        lambda: during(model := network(), "gradual", 0.5, sgd(model), 1.5),
        "steps must be at least 1, a whole number; got 1.5",
    ),
    "steps text": (
        lambda: during(model := network(), "gradual", 0.5, sgd(model), "10"),
        "whole number.*'10'",
    ),
    "epochs": (lambda: tuned(epochs=1.5), "epochs must be at least 1, a whole number; got 1.5"),
    "epochs text": (lambda: tuned(epochs="3"), "epochs must be at least 1, a whole number; got '3'"),
    "lr text": (lambda: tuned(lr="0.1"), "lr must be a positive number; got lr='0.1'"),
    "loss name": (lambda: tuned(loss="mse"), "loss must be a function.*got 'mse'"),
    "loss each": (
        lambda: tuned(loss=lambda z, y: F.cross_entropy(z, y, reduction="none")),
        r"a loss is one number.*got Tensor \(4, 3\) float32 and target Tensor \(4,\) int64",
    ),
    "labels": (
        lambda: finetune(network(), [(X, Y + 3)], epochs=1),
        "class numbers from 0, fewer than there are scores",
    ),
    "labels scored": (
        lambda: prune(network(), "taylor-filter", 0.5, example=X, batches=[(X, Y + 3)]),
        "class numbers from 0, fewer than there are scores",
    ),
    "dict": (
        lambda: prune(Named(), "taylor-filter", 0.5, example=X, batches=PAIR),
        "the model returned a dict, neither class scores.*wrap the model",
    ),
    "layers": (lambda: prune(network(), "l1-filter", 0.5, example=X, layers=[0]), "take names.*'0'; got 0"),
    "coupling": (
        lambda: prune(network(), "l1-filter", 0.5, example=X, coupling="c"),
        "coupling= is survey_lib.trace.*got 'c'",
    ),
    "keep": (lambda: cut({"0": [0, 1, 2]}), r"must be bool of shape \(8,\); got list of \(0, 1, 2\)"),
    "other coupling": (
        lambda: survey_lib.cut(nn.Linear(2, 2), trace(network(), X), {"0": torch.arange(8) < 4}, X),
        "coupling= is that of another model.*trace this model",
    ),
    "save model": (lambda: survey_lib.save(network(), "a.safetensors"), "got Sequential: pass the result"),
    "save nowhere": (
        lambda: survey_lib.save(prune(network(), "magnitude", 0.5), "no/a"),
        "no/a is a folder, or",
    ),
    "save folder": (
        lambda: survey_lib.save(prune(network(), "magnitude", 0.5), "."),
        "name a file in a folder",
    ),
    "built-in": (
        lambda: survey_lib.register(torch.ops.aten.mm, lambda *_: {}),
        "aten.mm has a rule of the library",
    ),
    "rule": (lambda: survey_lib.register(torch.ops.survey_tests.twice, 3), "a rule is a function.*got 3"),
}


@pytest.mark.parametrize("call", WRONG)
def test_b96_wrong_values_are_named_with_what_is_allowed(call):
    wrong, message = WRONG[call]
    with pytest.raises(ValueError, match=message):
        wrong()


def test_b96_statistics_that_are_not_finite_are_refused_and_the_model_stays_as_it_was():
    model = network()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match="statistics of 1 are not finite"):
        recalibrate(model, [X, torch.randn(X.shape) * 1e30])
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


NAN, INF = (X.clone().index_fill_(0, torch.tensor(1), bad) for bad in (math.nan, math.inf))
NOTHING_YET = {
    "example nan": (lambda: halved(example=NAN), r"the example has 192 entries that are NaN or infinite"),
    "example inf": (lambda: prune(network(), "magnitude", 0.5, example=INF), "the example has 192 entries"),
    "one of examples": (lambda: halved(example=None, examples=[X, NAN]), "the example has 192 entries"),
    "example empty": (lambda: halved(example=X[:0]), r"the example holds no values: Tensor \(0, 3, 8, 8\)"),
    "trace": (lambda: trace(network(), NAN), "the example has 192 entries"),
    "measure": (lambda: measure(network(), NAN), "the example has 192 entries"),
    "during": (lambda: during(m := network(), "sfp", 0.5, sgd(m), 3, example=NAN), "the example has 192"),
    "batch nan": (lambda: scored(batches=[(X, Y), (NAN, Y)]), "batch 2 has 192 entries that are NaN"),
    "target nan": (lambda: scored(batches=[(X, X[:, 0, 0, :3] * math.nan)]), "batch 1 has 12 entries"),
    "batch empty": (lambda: scored(batches=[(X[:0], Y[:0])]), "batch 1 holds no values: tuple of"),
    "batch none": (lambda: scored(batches=[None]), "batch 1 holds no values: None"),
    "recalibrated on nan": (lambda: recalibrate(network(), [NAN]), "batch 1 has 192 entries"),
    "layers unmatched": (lambda: halved(layers=["nope"]), "'nope' matches no prunable layer; near: 0, 3, 5"),
    "layers relu": (lambda: halved(layers=["2"]), "'2' matches no prunable layer"),
    "protect unmatched": (lambda: halved(protect="nope"), "'nope' matches no prunable layer"),
    "layers of blocks": (lambda: scored("block-influence", layers=["x"]), "'x' matches no prunable layer"),
    "layers permuted": (lambda: scored("nm-permuted", layers=["x"]), "'x' matches no prunable layer"),
    "layers none": (lambda: halved(layers=[]), "layers= is empty, so nothing would be pruned"),
    "layers shares": (lambda: halved(layers={"0": 0.5}), "a list of names or patterns; got dict"),
    "layers number": (lambda: halved(layers=0), "a list of names or patterns; got 0"),
    "cut array": (lambda: halved(cut=Y), "cut must be True, False or None; got tensor"),
    "masks array": (lambda: scored("magnitude", masks=Y), "masks must be .* got Tensor"),
    "seed large": (
        lambda: scored("random", seed=2**64),
        "seed must be a whole number from 0 to 2.*got 18446",
    ),
    "seed of training": (
        lambda: during(m := network(), "set", 0.5, sgd(m), 3, seed="a"),
        "seed must be a whole number from 0.*got 'a'",
    ),
    "cut": (lambda: halved(cut="no"), "cut must be True, False or None; got 'no'"),
    "seed": (lambda: scored("random", seed=None), "seed must be a whole number from 0.*got None"),
    "macs": (lambda: halved(sparsity=None, macs=True), r"macs is the share .* in \(0, 1\]; got True"),
    "sparsity": (lambda: prune(network(), "magnitude", False), "the fraction removed; got False"),
    "coupling": (lambda: halved(coupling=False), "coupling= is survey_lib.trace.*got False"),
    "statistics": (
        lambda: prune(broken(), "l1-filter", 0.5, example=X),
        "1.running_var: 8 of 8 entries are NaN or infinite",
    ),
    "no copies": (lambda: prune(Uncopied(), "magnitude", 0.5), "on a copy, and copy.deepcopy.*no copies"),
    "optimizer": (lambda: during(network(), "gradual", 0.5, None, 3), "must be a torch.optim.Optimizer"),
    "frozen": (
        lambda: during(m := network().requires_grad_(False), "gradual", 0.5, sgd(m), 3),
        "trains none of .* not frozen",
    ),
    "second epoch": (lambda: finetune(network(), Once(), epochs=2), "epoch 1 has no batches; pass a list"),
    "target array": (lambda: finetune(network(), [(X, Y.numpy())], epochs=1), r"ndarray \(4,\) int64"),
}


class Once:
    """Batches that an iterator behind them gives out one single time."""

    def __init__(self):
        self.rest = iter(PAIR)

    def __iter__(self):
        return self.rest


class Uncopied(nn.Linear):
    def __init__(self):
        super().__init__(2, 2)

    def __deepcopy__(self, memo):
        raise RuntimeError("no copies")


def broken():
    model = network()
    model[1].running_var.fill_(math.inf)
    return model


def halved(**wishes):
    return prune(network(), "l1-filter", **({"sparsity": 0.5, "example": X} | wishes))


def scored(method="taylor-filter", **wishes):
    return prune(network(), method, 0.5, **({"example": X, "batches": PAIR} | wishes))


@pytest.mark.parametrize("call", NOTHING_YET)
def test_b97_what_is_silent_elsewhere_is_refused_before_the_model_runs(call, monkeypatch):
    monkeypatch.setattr(nn.Conv2d, "forward", None)  # must not be called
    wrong, message = NOTHING_YET[call]
    with pytest.raises(ValueError, match=message):
        wrong()


def test_b97_an_attention_mask_of_minus_infinity_is_an_example_like_any_other():
    layer, x = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), torch.randn(2, 4, 8)
    mask = nn.Transformer.generate_square_subsequent_mask(4)
    assert prune(layer.eval(), "l1-filter", 0.5, example=(x, mask)).model.linear1.out_features == 8


@pytest.mark.parametrize(
    "returned",
    [lambda z: z.detach().numpy(), lambda z: float(z.sum()), lambda z: z.argmax(1), lambda z: None, object],
    ids="array number class nothing object".split(),
)
def test_b97_a_model_that_returns_no_numbers_is_refused_because_its_cut_could_not_be_checked(returned):
    class Model(Named):
        def forward(self, x):
            return returned(self.body(x)) if returned is not object else object()

    with pytest.raises(ValueError, match="no floating tensor by which a cut could be checked; wrap it"):
        prune(Model(), "l1-filter", 0.5, example=X)


@pytest.mark.parametrize("batch", [(X.double(), Y), (X.numpy(), Y), (X[..., :5, :5], Y)])
def test_b97_a_batch_that_the_model_does_not_run_on_is_described(batch):
    with pytest.raises(ValueError, match=r"does not run on a batch of (Tensor|ndarray) \(4, 3, .*float"):
        prune(network(), "wanda", 0.5, batches=[batch])


def test_b97_a_forward_without_gradients_is_named():
    class Detached(Named):
        def forward(self, x):
            return self.body(x).detach()

    with pytest.raises(ValueError, match="the loss has no gradient"):
        prune(Detached(), "taylor-filter", 0.5, example=X, batches=PAIR)


def test_b97_a_cost_of_several_numbers_is_described():
    with pytest.raises(ValueError, match="cost.model. must be a finite number; got Tensor .2,. float32"):
        halved(sparsity=None, cost=lambda model: torch.ones(2), at_most=1)


@pytest.mark.parametrize("call", [trace, measure])
def test_b97_a_branch_of_the_compiler_is_named_with_what_to_write_in_its_place(call):
    class Branching(nn.Linear):
        def forward(self, x):
            return torch.cond(x.sum() > 0, super().forward, lambda x: -x, (x,))

    with pytest.raises(ValueError, match="such as torch.cond; write them with if, for or while"):
        call(Branching(3, 3), torch.ones(2, 3))


def test_b97_a_layer_that_makes_parts_in_its_forward_is_to_be_run_first():
    class Growing(nn.Linear):
        def forward(self, x):
            self.more = getattr(self, "more", None) or nn.Linear(4, 4)
            return self.more(super().forward(x))

    model, x = nn.Sequential(Growing(3, 4), nn.Linear(4, 2)), torch.ones(2, 3)
    with pytest.raises(ValueError, match="after one run if its forward makes layers"):
        prune(model, "l1-filter", 0.5, example=x)
    model(x)
    assert prune(model, "l1-filter", 0.5, example=x).sparsity == 0.5


def half_by_torch(layer):
    return nn.utils.prune.l1_unstructured(layer, "weight", 0.5)


@pytest.mark.parametrize("fold", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm, half_by_torch])
def test_b97_weights_that_are_computed_are_left_whole_with_the_way_to_fold_them(fold):
    model = network()
    fold(model[3])
    result = prune(model, "magnitude", 0.5)
    assert set(result.masks) == {"0.weight", "5.weight"}
    assert "fold it first with torch.nn.utils." in dict(result.skipped)["3"]


def test_b97_a_layer_before_a_masked_one_is_whole_because_of_that_one():
    model = network()
    half_by_torch(model[3])
    assert trace(model, X).fixed["0"].startswith("coupled to 3: its weight is computed")


def test_b97_a_subclass_of_linear_that_only_renames_it_is_watched_and_another_forward_is_not():
    class Renamed(nn.Linear):
        pass

    class Doubled(nn.Linear):
        def forward(self, x):
            return F.linear(x, 2 * self.weight, self.bias)

    model, x = nn.Sequential(Renamed(4, 4), Doubled(4, 4), nn.Linear(4, 2)), torch.randn(3, 4)
    result = prune(model, "wanda", 0.5, batches=[x])
    assert set(result.masks) == {"0.weight", "2.weight"} and "Doubled is none" in dict(result.skipped)["1"]


def test_b97_inside_inference_mode_the_result_is_the_same():
    outside = prune(network(), "l1-filter", 0.5, example=X)
    with torch.inference_mode():
        inside = prune(network(), "l1-filter", 0.5, example=X)
    assert all(torch.equal(inside.masks[name], mask) for name, mask in outside.masks.items())


def test_b97_a_compiled_part_is_pruned_like_the_rest():
    model = nn.Sequential(torch.compile(network(), backend="eager"), nn.ReLU(), nn.Linear(3, 3))
    assert prune(model, "l1-filter", 0.5, example=X, layers=["0"]).model[0]._orig_mod[0].out_channels == 4


def test_b97_recalibration_without_batch_norm_says_that_nothing_changes():
    with pytest.warns(UserWarning, match="no batch norm with running statistics, so nothing changes"):
        recalibrate(nn.Sequential(nn.Linear(2, 2)), [torch.ones(3, 2)])


def test_b96_a_loss_that_is_not_finite_is_blamed_on_the_batch_or_on_the_rate():
    with pytest.raises(FloatingPointError, match="this batch holds NaN or infinity"):
        finetune(network(), [(X * math.nan, Y)], epochs=1)
    with pytest.raises(FloatingPointError, match="lower lr and run again"):
        finetune(network(), PAIR * 20, epochs=1, lr=1e12)


def test_b96_one_session_at_a_time_acts_on_a_model_through_an_optimizer():
    model = network()
    optimizer, other = sgd(model), sgd(model)
    first = during(model, "gradual", 0.5, optimizer, 3)
    with pytest.raises(ValueError, match="is not finished; call its finish.., or build"):
        during(model, "set", 0.5, optimizer, 3)
    assert len(optimizer._optimizer_step_pre_hooks) == 1
    during(model, "set", 0.5, other, 3).finish()
    first.finish()
    during(model, "set", 0.5, optimizer, 3).finish()


@pytest.mark.parametrize(
    "rule",
    [lambda call: call.axes(call.out), lambda call, x: None, lambda call, x: {1: [1, 2]}],
    ids="arity none list".split(),
)
def test_b96_a_rule_that_fails_or_returns_no_labels_is_named_by_its_operation(rule, monkeypatch):
    table = survey_lib.chain.coupling.rules.table
    monkeypatch.setattr(table, "TABLE", dict(table.TABLE))
    with pytest.raises(ValueError, match="unknown operation survey_tests.twice, see survey_lib.register"):
        prune(Twice(), "l1-filter", 0.5, example=torch.ones(1, 4))
    survey_lib.register(torch.ops.survey_tests.twice, rule)
    with pytest.raises(
        ValueError, match="the rule for survey_tests.twice must return {axis: array of labels}"
    ):
        trace(Twice(), torch.ones(1, 4))


def test_masks_of_a_coupling_remove_what_a_cut_removes():
    model = network().eval()
    coupling, keep = trace(model, X), {"0": torch.arange(8) % 2 == 0}
    small = survey_lib.cut(model, coupling, keep, X).model
    masks = coupling.masks(keep)
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {
        "0.weight": 4 * 27,
        "0.bias": 4,
        "1.weight": 4,
        "1.bias": 4,
        "3.weight": 8 * 4 * 9,
    }
    masked = survey_lib.chain.masks.masked_copy(model, masks)
    x = torch.randn(2, 3, 8, 8)
    assert torch.allclose(small.eval()(x), masked(x), atol=1e-5)
