"""Plans and files: a slim model comes back bit for bit, and what does not fit is an error that says so."""

import copy
import json

import pytest
import safetensors.torch
import torch
from torch import nn

from survey_lib.chain.coupling import trace
from survey_lib.chain.surgery.cut import Check, cut
from survey_lib.chain.surgery.plan import load_file, replay, save_file


def build():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )


@pytest.fixture
def slimmed():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, x = build().eval(), torch.randn(2, 3, 9, 9)
    keep = {"0": torch.tensor([True, False] * 4)}
    return cut(model, trace(model, x), keep, x), x


def test_b57_a_slim_model_reloads_bit_for_bit(slimmed, tmp_path):
    result, x = slimmed
    save_file(tmp_path / "slim.safetensors", result.model, result.plan, {}, {"accuracy": 0.5})
    dense = build()
    before = copy.deepcopy(dense.state_dict())
    model, plan, loaded, notes = load_file(tmp_path / "slim.safetensors", dense)
    assert torch.equal(model.eval()(x), result.model(x))
    assert plan == result.plan and notes == {"accuracy": 0.5}
    assert loaded["6.weight"].all(0).tolist() == [True, False] * 4
    assert all(torch.equal(tensor, before[name]) for name, tensor in dense.state_dict().items())


def test_b57_a_new_process_needs_only_the_class(slimmed, tmp_path, children):
    result, x = slimmed
    save_file(tmp_path / "slim.safetensors", result.model, result.plan, {}, {})
    torch.save({"x": x, "y": result.model(x)}, tmp_path / "pair.pt")
    code = (
        "import torch; from torch import nn; from survey_lib.chain.surgery.plan import load_file\n"
        "torch.set_num_threads(1); pair = torch.load(folder + '/pair.pt', weights_only=True)\n"
        "dense = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8),\n"
        "                      nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))\n"
        "model = load_file(folder + '/slim.safetensors', dense)[0].eval()\n"
        "assert torch.equal(model(pair['x']), pair['y'])"
    )
    with children.Pool(1) as pool:
        pool.apply(exec, (code, {"folder": str(tmp_path)}))


def test_b57_a_slim_state_does_not_load_into_the_dense_class(slimmed):
    with pytest.raises(RuntimeError, match="size mismatch"):
        build().load_state_dict(slimmed[0].model.state_dict())


def test_the_plan_is_json_and_replays_on_other_weights(slimmed):
    plan = json.loads(json.dumps(slimmed[0].plan))
    other = build()
    small = replay(other, plan)
    assert torch.equal(small[0].weight, other[0].weight[::2])
    assert small[3].groups == 4 and small[1].num_features == 4
    assert small[1].running_mean.data_ptr() != other[1].running_mean.data_ptr()


def test_a_cut_keeps_nothing_of_the_original_storage(slimmed):
    model, x = build(), torch.randn(1, 3, 9, 9)
    small = cut(model, trace(model, x), {"0": torch.arange(8) > 0}, x).model
    mine = {tensor.data_ptr() for tensor in model.state_dict().values()}
    assert not mine & {tensor.data_ptr() for tensor in small.state_dict().values()}


def broken(plan, **changes):
    return copy.deepcopy(plan) | changes


@pytest.mark.parametrize(
    "change, message",
    [
        ({"schema": 99}, "schema 99"),
        ({"shapes": {"0.weight": [9, 9]}}, "made for another model"),
        ({"removed": {"nothing": {"0": [1]}}}, "'nothing', which the model does not have"),
        ({"removed": {"0.weight": {"7": [1]}}}, "axis 7"),
        ({"removed": {"0.weight": {"0": [8]}}}, r"outside 0\.\.7"),
        ({"removed": {"0.weight": {"0": [-1]}}}, r"outside 0\.\.7"),
        ({"removed": {"0.weight": {"0": list(range(8))}}}, "or all of them"),
        ({"attributes": {"0": {"forward": 3}}}, "only existing widths"),
        ({"attributes": {"0": {"training": 1}}}, "only existing widths"),
        ({"attributes": {"ghost": {"groups": 3}}}, "only existing widths"),
        ({"attributes": {"0": {"groups": "4"}}}, "only existing widths"),
        ({"attributes": {"0": {"groups": 2}}}, "only existing widths"),
        ({"attributes": {"0": {"out_channels": 10**12}}}, "only existing widths"),
        ({"attributes": {"0": {"kernel_size": [1, 1]}}}, "only existing widths"),
        ({"attributes": {"0": {"stride": [1, 1]}}}, "only existing widths"),
        ({"attributes": {"0": {"dilation": [1, 1]}}}, "only existing widths"),
        ({"attributes": {"0": {"out_channels": [4]}}}, "only existing widths"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused_before_any_work(slimmed, change, message):
    with pytest.raises(ValueError, match=message):
        replay(build(), broken(slimmed[0].plan, **change))


def test_another_model_is_named_by_its_first_tensor(slimmed):
    other = nn.Sequential(nn.Conv2d(3, 9, 3), *build()[1:])
    with pytest.raises(ValueError, match="'0.bias' has shape .8. in the plan and .9. here"):
        replay(other, slimmed[0].plan)


def test_files_that_are_not_ours_are_refused(slimmed, tmp_path):
    pickled, foreign, later = (tmp_path / name for name in ("pickle.safetensors", "foreign", "later"))
    torch.save(build().state_dict(), pickled)
    with pytest.raises(ValueError, match="is not a safetensors file"):
        load_file(pickled, build())
    safetensors.torch.save_file({"x": torch.ones(1)}, foreign)
    with pytest.raises(ValueError, match="was not written by survey_lib.save"):
        load_file(foreign, build())
    notes = json.dumps({"schema": 2, "plan": None, "meta": {}})
    safetensors.torch.save_file({"x": torch.ones(1)}, later, metadata={"survey_lib": notes})
    with pytest.raises(ValueError, match="has schema 2"):
        load_file(later, build())


def test_a_file_of_another_model_is_refused(tmp_path):
    save_file(tmp_path / "file", nn.Linear(2, 3), None, {}, {})
    with pytest.raises(ValueError, match="holds nothing for '0.bias'"):
        load_file(tmp_path / "file", nn.Sequential(nn.Linear(2, 3)))
    with pytest.raises(ValueError, match="torch.float32 .* the model has torch.float64"):
        load_file(tmp_path / "file", nn.Linear(2, 3).double())


def test_masks_of_a_masked_model_come_back(tmp_path):
    model, masks = nn.Linear(4, 5), {"weight": torch.rand(5, 4) > 0.5}
    save_file(tmp_path / "file", model, None, masks, {})
    loaded, plan, found, _ = load_file(tmp_path / "file", nn.Linear(4, 5))
    assert plan is None and torch.equal(found["weight"], masks["weight"])
    assert torch.equal(loaded.weight, model.weight)


def test_a_model_that_loads_states_in_its_own_way_comes_back(tmp_path):
    class Versioned(nn.Linear):
        """As torchvision's MNASNet: it wants the version that `state_dict` notes."""

        _version = 2

        def _load_from_state_dict(self, state, prefix, notes, *others):
            assert notes["version"] == 2
            super()._load_from_state_dict(state, prefix, notes, *others)

    model = Versioned(2, 3)
    save_file(tmp_path / "file", model, None, {}, {})
    assert torch.equal(load_file(tmp_path / "file", Versioned(2, 3))[0].weight, model.weight)


def test_notes_must_be_json(tmp_path):
    with pytest.raises(ValueError):
        save_file(tmp_path / "file", nn.Linear(2, 3), None, {}, {"loss": float("nan")})


def test_tied_tensors_are_stored_once_and_come_back_tied(tmp_path):
    def tied():
        model = nn.ModuleDict({"embed": nn.Embedding(5, 4), "head": nn.Linear(4, 5, bias=False)})
        model["head"].weight = model["embed"].weight
        return model

    model = tied()
    save_file(tmp_path / "file", model, None, {}, {})
    assert len(safetensors.torch.load_file(tmp_path / "file")) == 1
    loaded = load_file(tmp_path / "file", tied())[0]
    assert loaded["head"].weight is loaded["embed"].weight
    assert torch.equal(loaded["head"].weight, model["head"].weight)


def test_groups_that_cannot_be_cut_do_not_stop_the_others():
    class Literal(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(3, 6), nn.Linear(6, 8), nn.Linear(8, 2)

        def forward(self, x):
            return self.c(torch.relu(self.b(self.a(x).view(-1, 6))))

    model, x = Literal(), torch.randn(5, 3)
    coupling = trace(model, x)
    result = cut(model, coupling, {"a": torch.arange(6) > 1, "b": torch.arange(8) > 2}, x)
    assert [name for name, _ in result.refused] == ["a"] and list(result.keep) == ["b"]
    assert (result.model.a.out_features, result.model.b.out_features) == (6, 5)


@pytest.mark.parametrize("biases", [["0"], ["9"], ["1"], "2", 3, [[]], [None]])
def test_a_plan_adds_biases_only_to_layers_without_one(biases, slimmed):
    """0 and 6 have a bias, 1 is a norm, 9 does not exist."""
    plan = slimmed[0].plan | {"biases": biases}
    with pytest.raises(ValueError, match="the plan adds biases to"):
        replay(build(), plan)


class Literal(nn.Module):
    """A residual block; a broken one states its width as a number in the forward."""

    def __init__(self, broken):
        super().__init__()
        self.a, self.b, self.broken = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), broken

    def forward(self, x):
        h = self.a(x).relu()
        return x + self.b(h.view(len(h), 8, *h.shape[2:]) if self.broken else h)


class Parts(nn.Module):
    """Splits by widths that it holds, half of the wide one being the narrow one; a broken one states it, too."""

    def __init__(self, broken):
        super().__init__()
        self.broken, self.narrow, self.wide = broken, 8, 16
        self.a, self.b = nn.Linear(4, 8), nn.Linear(4, 16)
        self.p, self.q = nn.Linear(8, 4), nn.Linear(16, 4)

    def forward(self, x):
        first, second = torch.cat([self.a(x), self.b(x)], 1).relu().split([self.narrow, self.wide], 1)
        if self.broken and first.shape[1] != 8:
            raise ValueError("stated")
        return self.p(first) + self.q(second)


def test_a_width_changes_once_though_the_new_one_is_the_old_one_of_another_axis():
    model, x = nn.Sequential(Parts(False), Parts(True)), torch.randn(2, 4)
    coupling = trace(model, x)
    done = cut(model, coupling, {g.name: torch.arange(g.size) < g.size // 2 for g in coupling.groups}, x)
    assert done.refused == [("1.a", "the cut model fails: stated")]
    assert (done.model[0].narrow, done.model[0].wide, done.model[0].p.out_features) == (4, 8, 2)


class Divided(Literal):
    """Divides by its width: the cut one answers something else, and nothing raises."""

    def forward(self, x):
        h = self.a(x).relu()
        return x + self.b(h / h.shape[1] if self.broken else h)


class Halved(Literal):
    """Adds up what is left after a sigmoid, where removed channels are one half each."""

    def forward(self, x):
        h = self.a(x).sigmoid()
        return x + torch.einsum("bchw,bchw->bhw", h, h)[:, None] if self.broken else x + self.b(h)


class Asking(Literal):
    """Refuses another width itself."""

    def forward(self, x):
        h = self.a(x).relu()
        if self.broken and h.shape[1] != 8:
            raise ValueError(f"{h.shape[1]} channels")
        return x + self.b(h)


def checks_of(model, monkeypatch):
    """The cut of half of every group, and how many checks it took."""
    x, checks = torch.randn(1, 3, 4, 4), []
    problem = Check.problem
    monkeypatch.setattr(Check, "problem", lambda *wanted: checks.append(1) or problem(*wanted))
    coupling = trace(model, x)
    keep = {g.name: torch.arange(g.size) < g.size // 2 for g in coupling.groups}
    return cut(model, coupling, keep, x), len(checks)


@pytest.mark.parametrize("kind", [Literal, Halved, Divided, Asking])
@pytest.mark.parametrize("broken, most", [((3,), 9), ((0, 5, 9), 19), (tuple(range(16)), 35)])
def test_b92_what_is_refused_is_found_by_halves_and_the_rest_stays_cut(kind, broken, most, monkeypatch):
    blocks = [kind(number in broken) for number in range(16)]
    done, checks = checks_of(nn.Sequential(nn.Conv2d(3, 8, 1), *blocks, nn.Conv2d(8, 2, 1)), monkeypatch)
    assert {name for name, _ in done.refused} == {f"{number + 1}.a" for number in broken}
    assert set(done.keep) == {"0", *(f"{n + 1}.a" for n in range(16) if n not in broken)}
    assert checks <= most


class Table(nn.Module):
    """A table by head, in a shape that the module holds; no forward of it is called (timm's position biases)."""

    def __init__(self, heads):
        super().__init__()
        self.shape, self.table = (3, 3, heads), nn.Parameter(torch.randn(9, heads))

    def bias(self):
        return self.table.view(self.shape).mean((0, 1))


class Biased(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.o, self.table = nn.Linear(4, 8), nn.Linear(8, 2), Table(8)

    def forward(self, x):
        return self.o((self.a(x) + self.table.bias()).relu())


def test_b92_a_width_of_a_module_whose_method_is_called_follows_the_cut():
    model, x = nn.Sequential(nn.Linear(4, 4), Biased()), torch.randn(2, 4)
    done = cut(model, trace(model, x), {"1.a": torch.arange(8) > 2}, x)
    assert not done.refused and done.model[1].table.shape == (3, 3, 5)
