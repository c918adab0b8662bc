"""Nothing is silent: what is not pruned is named, what the example does not reach is named, what is asked is done.

Cases B68 to B71, B73 to B75, B80, B86, B89, B90 and B95; each with the instance reported and others of its kind.
"""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune as torch_prune

import survey_lib
from survey_lib import measure, prune
from survey_lib.chain.evidence.base import collect
from survey_lib.chain.masks import masks_from_torch
from survey_lib.chain.surgery.cut import Check
from survey_lib.measure.storage import sizes

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
X = torch.ones(2, 4)


class Cells(nn.Module):
    """A recurrent cell in a loop, then a head."""

    def __init__(self, kind):
        super().__init__()
        self.cell, self.head = kind(8, 16), nn.Linear(16, 3)

    def forward(self, x):
        state = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        return self.head(state[0] if isinstance(state, tuple) else state)


class Own(nn.Module):
    """A matrix of its own, as in transformers' Conv1D, or three of them in one tensor, as its experts have."""

    def __init__(self, *shape):
        super().__init__()
        self.weight, self.norm, self.head = (
            nn.Parameter(torch.randn(shape)),
            nn.LayerNorm((1, 4)),
            nn.Linear(shape[-1], 3),
        )

    def forward(self, x):
        return self.head((x @ self.weight).relu())


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_b68_recurrent_cells_are_pruned(kind):
    result = prune(Cells(kind), "magnitude", 0.5)
    assert list(result.masks) == ["cell.weight_ih", "cell.weight_hh", "head.weight"]


def test_b68_bilinear_layers_and_transposed_volumes_are_pruned():
    model = nn.ModuleList([nn.Bilinear(2, 3, 4), nn.ConvTranspose3d(2, 4, 2)])
    assert list(prune(model, "magnitude", 0.5).masks) == ["0.weight", "1.weight"]


@pytest.mark.parametrize("shape", [(4, 16), (3, 4, 16)])
def test_b68_matrices_of_no_layer_are_named_and_pruned_where_they_are_named(shape):
    model = nn.Sequential(Own(*shape))
    result = prune(model, "magnitude", 0.5)
    assert list(result.masks) == ["0.head.weight"]
    assert [name for name, why in result.skipped if "of Own" in why] == ["0"]
    named = prune(model, "magnitude", 0.5, layers=["0", "0.head"])
    assert set(named.masks) == {"0.weight", "0.head.weight"} and named.sparsity == 0.5


def test_b68_every_matrix_is_pruned_or_named_by_structured_methods_too():
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.table = nn.Linear(4, 8), nn.Linear(8, 2), nn.Parameter(torch.randn(2, 2))

        def forward(self, x):
            return self.b(self.a(x).relu()) @ self.table

    result = prune(Table(), "l1-filter", 0.5, example=X)
    assert "table" in {name for name, _ in result.skipped}


class Conditioned(nn.Module):
    """An input that may be left out."""

    def __init__(self):
        super().__init__()
        self.a, self.c, self.o = nn.Linear(4, 16), nn.Linear(5, 16), nn.Linear(16, 3)

    def forward(self, x, cond=None):
        h = self.a(x)
        return self.o((h if cond is None else h + self.c(cond)).relu())


class Routed(nn.Module):
    """Experts, one of which is chosen by what comes in."""

    def __init__(self):
        super().__init__()
        self.i, self.o = nn.Linear(4, 8), nn.Linear(8, 2)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8)) for _ in range(2)
        )

    def forward(self, x):
        return self.o(self.experts[int(x.sum() > 0)](self.i(x).relu()))


class Keyed(nn.Module):
    """A head for each task, chosen by name."""

    def __init__(self):
        super().__init__()
        self.body, self.heads = nn.Linear(4, 8), nn.ModuleDict({"a": nn.Linear(8, 2), "b": nn.Linear(8, 3)})

    def forward(self, x, task="a"):
        return self.heads[task](self.body(x).relu())


PARTS = {
    "condition": (Conditioned, [X, (X, torch.ones(2, 5))], "c"),
    "expert": (Routed, [-X, X], "experts.1.0"),
    "task": (Keyed, [X, {"x": X, "task": "b"}], "heads.b"),
}


@pytest.mark.parametrize("part", PARTS)
def test_b69_b70_parts_that_the_example_does_not_run_are_named_and_warned_about(part):
    kind, examples, unseen = PARTS[part]
    with pytest.warns(UserWarning, match=f"the example does not use {unseen}"):
        result = prune(kind(), "l1-filter", 0.5, example=examples[0])
    assert f"{unseen}.weight" in {name for name, _ in result.skipped}


@pytest.mark.parametrize("part", PARTS)
def test_b69_b70_all_examples_are_traced_and_checked(part):
    kind, examples, unseen = PARTS[part]
    torch.manual_seed(0)
    model = kind()
    small, masked = (prune(model, "l1-filter", 0.5, examples=examples, cut=cut) for cut in (True, False))
    assert f"{unseen}.weight" not in {name for name, _ in small.skipped}
    for x in examples:
        outputs = [survey_lib.chain.evidence.weights.call(one.model, x) for one in (small, masked)]
        assert torch.allclose(*outputs, atol=1e-6)
    assert small.left["parameters"] < 0.62


def test_b69_a_branch_that_another_size_takes_is_seen_by_the_check():
    class Sized(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.o = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 3)

        def forward(self, x):
            h = self.a(x)
            if x.shape[-1] > 16:
                h = torch.cat([h[:, :4] * 2, h[:, 4:]], 1)
            return self.o(h.relu().mean((2, 3)))

    result = prune(Sized(), "l1-filter", 0.5, example=torch.ones(1, 3, 16, 16))
    assert dict(result.skipped)["a"] == "the cut model computes something else than the masked one"


def test_examples_stand_in_place_of_an_example():
    for wishes in ({"example": X, "examples": [X]}, {"examples": X}, {"examples": []}):
        with pytest.raises(ValueError, match="examples= is a list of inputs"):
            prune(Conditioned(), "l1-filter", 0.5, **wishes)


def test_b71_modules_whose_statistics_run_over_kept_channels_are_named():
    normed = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 1))
    assert prune(normed, "l1-filter", 0.5, example=X).over_kept == ("1",)
    assert "statistics over kept channels only" in repr(prune(normed, "l1-filter", 0.5, example=X))


class Faint(nn.Module):
    """A statistic over channels, behind weights so small that the output hardly shows it."""

    def __init__(self, statistic):
        super().__init__()
        self.a, self.b, self.straight, self.statistic = (
            nn.Linear(4, 8),
            nn.Linear(8, 2),
            nn.Linear(4, 2),
            statistic,
        )
        nn.init.normal_(self.b.weight, std=1e-10)

    def forward(self, x):
        h = self.a(x)
        return self.straight(x) + self.b(self.statistic(h))


@pytest.mark.parametrize(
    "statistic",
    [
        lambda h: F.layer_norm(h, h.shape[-1:]),
        lambda h: h / h.std(-1, keepdim=True),
        lambda h: h - h.mean(-1, keepdim=True),
    ],
)
def test_b95_the_check_sees_what_small_weights_hide(statistic):
    model = Faint(statistic)
    coupling = survey_lib.trace(model, X)
    silent = replace(coupling, groups=tuple(replace(group, flags=()) for group in coupling.groups))
    keep = {"a": torch.arange(8) < 4}
    assert Check(model, coupling, [X]).problem(keep) == ""
    assert "something else" in Check(model, silent, [X]).problem(keep)


class TimeMajor(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.head = nn.GRU(4, 3), nn.Linear(3, 2)

    def forward(self, x):
        return self.head(self.gru(x)[0][-1])


class Bag(nn.Module):
    def __init__(self):
        super().__init__()
        self.bag, self.head = nn.EmbeddingBag(10, 4), nn.Linear(4, 2)

    def forward(self, words, starts):
        return self.head(self.bag(words, starts))


BATCHES = {
    "time first": (TimeMajor(), lambda n: torch.ones(5, n, 4), 5 * 3 * (4 + 3) * 3 + 6),
    "encoder": (
        nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 1),
        lambda n: torch.ones(5, n, 8),
        None,
    ),
    "bag": (Bag(), lambda n: (torch.zeros(6, dtype=torch.long), torch.arange(n)), 8),
    "vector": (nn.Linear(4, 2), lambda n: torch.ones(4), None),
    "image alone": (nn.Conv2d(3, 4, 1), lambda n: torch.ones(3, 8, 8), None),
    "scalar first": (nn.Bilinear(2, 2, 2), lambda n: (torch.tensor(1.0), torch.ones(n, 2)), None),
}


@pytest.mark.parametrize("batch", BATCHES)
def test_b73_an_ambiguous_batch_is_refused(batch):
    model, example, _ = BATCHES[batch]
    if batch != "scalar first":
        with pytest.raises(
            ValueError, match="how many samples are in the example is not clear: .*; give samples="
        ):
            measure(model, example(2))
    if batch not in ("vector", "image alone"):
        with pytest.raises(ValueError, match="give samples=" if batch != "vector" else "more than one axis"):
            survey_lib.latency(model, example(2), seconds=0.01)


@pytest.mark.parametrize("batch", ["time first", "bag"])
def test_b73_macs_of_one_sample_where_the_caller_says_how_many(batch):
    model, example, macs = BATCHES[batch]
    assert {measure(model, example(n), samples=n)["macs"] for n in (1, 2, 6)} == {macs}
    assert survey_lib.latency(model, example(2), samples=2, seconds=0.01)["batch"] == 2


class Tied(nn.Module):
    def __init__(self, embedding_first):
        super().__init__()
        layers = {"e": nn.Embedding(20, 16), "o": nn.Linear(16, 20, bias=False)}
        layers["o"].weight = layers["e"].weight
        for name in sorted(layers, reverse=not embedding_first):
            self.add_module(name, layers[name])

    def forward(self, x):
        return self.o(self.e(x))


@pytest.mark.parametrize("embedding_first", [True, False])
def test_b74_zeros_of_a_tied_pair_count_once_in_either_order(embedding_first):
    result = prune(Tied(embedding_first), "magnitude", 0.5, layers=["o"])
    found = measure(result.model, torch.zeros(2, 3, dtype=torch.long))
    assert found["sparsity_all"] == found["sparsity_prunable"] == found["sparsity_pruned"] == 0.5
    assert sizes(result.model)["raw"]["dense"] == 20 * 16 * 4


def test_b74_masks_under_any_name_of_a_shared_weight_count():
    model = Tied(True)
    mask = torch.zeros(20, 16, dtype=torch.bool)
    for name in ("e.weight", "o.weight"):
        assert measure(model, torch.zeros(2, 3, dtype=torch.long), {name: mask})["sparsity_all"] == 1


@pytest.mark.parametrize("owners", [2, 3])
def test_b75_inputs_of_all_owners_of_a_weight_are_seen(owners):
    layers = nn.ModuleList(nn.Linear(4, 4, bias=False) for _ in range(owners))
    for layer in layers:
        layer.weight = layers[0].weight
    model, read, x = nn.Sequential(*layers), [], torch.randn(6, 4)
    for layer in layers:
        read.append(x)
        x = layer(x)
    norm = collect(model, ["0.weight"], ("act_norm",), [read[0]])["0.weight"].act_norm
    assert torch.allclose(norm, torch.cat(read).norm(dim=0))


def test_b75_a_layer_that_is_called_twice_counts_twice():
    layer, x = nn.Linear(4, 4, bias=False), torch.randn(6, 4)
    norm = collect(nn.Sequential(layer, layer), ["0.weight"], ("act_norm",), [x])["0.weight"].act_norm
    assert torch.allclose(norm, torch.cat([x, layer(x)]).norm(dim=0))


@pytest.mark.parametrize("method", ["magnitude", "random", "block"])
def test_b80_masks_of_an_earlier_round_are_never_marked_as_kept(method):
    model = nn.Sequential(nn.Linear(16, 16))
    first = prune(model, "magnitude", 0.8)
    with pytest.warns(UserWarning, match="asked for sparsity 0.300"):
        second = prune(first.model, method, 0.3, masks=first.masks)
    assert not (second.masks["0.weight"] & ~first.masks["0.weight"]).any()


def test_b89_only_masks_of_pruning_are_taken():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    torch_prune.random_unstructured(model[0], "weight", 3)
    for name in ("attention_mask", "bias_mask", "weight_mask"):
        model[1].register_buffer(name, torch.ones(3))
    assert list(masks_from_torch(model)) == ["0.weight"]


class Stuck(nn.Module):
    """The cut model fails without a word."""

    def __init__(self):
        super().__init__()
        self.a, self.o = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x):
        h = self.a(x)
        if h.shape[-1] != 8:
            raise RuntimeError
        return self.o(h.relu())


def test_b90_every_reason_is_a_sentence_with_something_in_it():
    assert (
        dict(prune(Stuck(), "l1-filter", 0.5, example=X).skipped)["a"] == "the cut model fails: RuntimeError"
    )
    with pytest.raises(ValueError, match="no channel can be cut: 0: reaches the model's output"):
        prune(nn.Sequential(nn.Linear(4, 2)), "l1-filter", 0.5, example=X)
    with pytest.raises(ValueError, match="no channel can be cut: the model has no layer"):
        prune(nn.Sequential(nn.ReLU()), "l1-filter", 0.5, example=X)
    with pytest.raises(ValueError, match="finds no layer to prune: the model has no"):
        prune(nn.Sequential(nn.Embedding(3, 4)), "magnitude", 0.5)


def test_b90_outputs_are_named_where_there_are_several():
    class Cache(nn.Module):
        def __init__(self):
            super().__init__()
            self.key, self.head = nn.Linear(4, 8), nn.Linear(8, 2)

        def forward(self, x):
            key = self.key(x)
            return {"logits": self.head(key.relu()), "past": [key]}

    with pytest.raises(ValueError, match="key: reaches the model's output 'past'.*wrap the model"):
        prune(Cache(), "l1-filter", 0.5, example=X)


class Experts(nn.Module):
    """Each row goes to the expert that a router chooses; torch multiplies them in float32 only."""

    def __init__(self, bias):
        super().__init__()
        self.route, self.a, self.o = nn.Linear(4, 3), nn.Linear(8, 6), nn.Linear(6, 2)
        self.experts = nn.Parameter(torch.randn(3, 4, 8))
        self.bias = nn.Parameter(torch.randn(8)) if bias else None

    def forward(self, x):
        chosen = self.route(x).argmax(-1)
        order, offs = chosen.argsort(stable=True), F.one_hot(chosen, 3).sum(0).cumsum(0).to(torch.int32)
        h = F.grouped_mm(x[order], self.experts, offs=offs)
        h = h if self.bias is None else h + self.bias
        return self.o(F.relu(self.a(h)))[order.argsort()]


@pytest.mark.parametrize("bias", [False, True])
def test_b86_experts_that_torch_multiplies_in_single_precision_are_checked_in_double(bias):
    torch.manual_seed(0)
    model, x = Experts(bias), torch.randn(5, 4)
    small = prune(model, "l1-filter", 0.5, example=x)
    masked = prune(model, "l1-filter", 0.5, example=x, cut=False)
    assert small.model.a.out_features == 3 and small.model.experts.shape == (3, 4, 8)
    assert torch.allclose(small.model(x), masked.model(x), atol=1e-5)


def test_b86_operations_without_float64_are_named():
    class Single(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.o = nn.Linear(4, 8), nn.Linear(8, 2)

        def forward(self, x):
            h = self.a(x)
            if h.dtype == torch.float64:
                raise NotImplementedError("mine is not implemented for 'Double'")
            return self.o(F.relu(h))

    with pytest.raises(ValueError, match="does not run on its example in float64: mine is not"):
        prune(Single(), "l1-filter", 0.5, example=X)


class Branch(nn.Module):
    """Two convolutions to be fused later, for which the widths are kept; the forward does not read them."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.in_channels, self.out_channels, self.kernel_size, self.scale = inputs, outputs, 3, outputs
        self.wide, self.narrow = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(inputs, outputs, 1)

    def forward(self, x):
        return self.wide(x) + self.narrow(x)

    def fused(self):
        one = nn.Conv2d(self.in_channels, self.out_channels, self.kernel_size, padding=1)
        one.weight.data = self.wide.weight.data + F.pad(self.narrow.weight.data, (1, 1, 1, 1))
        one.bias.data = self.wide.bias.data + self.narrow.bias.data
        return one


class Fusing(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.num_features = Branch(3, 8), Branch(8, 12), 12
        self.fc = nn.Linear(12, 4)

    def forward(self, x):
        return self.fc(self.second(self.first(x).relu()).relu().mean((2, 3)))


def test_b94_widths_that_no_forward_reads_follow_the_cut():
    x = torch.randn(2, 3, 8, 8)
    small = prune(Fusing(), "l1-filter", 0.5, example=x).model
    assert (small.first.in_channels, small.first.out_channels) == (3, 4)
    assert (small.second.in_channels, small.second.out_channels, small.num_features) == (4, 6, 6)
    assert small.second.kernel_size == 3
    before = small(x)
    small.first, small.second = small.first.fused(), small.second.fused()
    assert torch.allclose(small(x), before, atol=1e-5)
    nn.Linear(small.num_features, 2)(small.second(small.first(x).relu()).mean((2, 3)))


def test_b94_a_number_that_a_forward_reads_and_needs_stays():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.o, self.out_scale = nn.Linear(4, 8), nn.Linear(8, 2), 8

        def forward(self, x):
            return self.o(self.a(x).relu()) / self.out_scale

    assert prune(Scaled(), "l1-filter", 0.5, example=X).model.out_scale == 8


def test_b94_a_width_that_became_two_stays():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.o, self.hidden_size = nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(16, 2), 8

        def forward(self, x):
            return self.o(torch.cat([self.a(x), self.b(x)], 1).relu())

    model = Twice()
    model.b.weight.data.mul_(100)
    small = prune(model, "l1-filter", 0.5, example=X, scope="global").model
    assert (small.a.out_features, small.b.out_features, small.hidden_size) == (1, 7, 8)
