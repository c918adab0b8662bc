"""Training-time methods in an ordinary loop: through the optimizer's hooks, and nothing left behind."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from survey_lib import during
from survey_lib.catalogue import METHODS
from survey_lib.chain.masks import overall_sparsity, prunable
from survey_lib.chain.selection import cubic, erk
from survey_lib.methods.weight import sparse_training
from survey_lib.methods.weight import training as weight_training

RULES = ["gradual", "movement", "set", "rigl", "srigl", "l0", "str", "acdc", "nm-srste"]
STEPS = 40


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(4, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(128, 12),
            nn.ReLU(),
            nn.Linear(12, 4),
        )


def optimizers(model: nn.Module) -> dict[str, torch.optim.Optimizer]:
    return {
        "momentum": torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.1),
        "adam": torch.optim.Adam(model.parameters(), 0.01),
        "adamw": torch.optim.AdamW(model.parameters(), 0.01, weight_decay=0.1),
    }


def step(model: nn.Module, optimizer: torch.optim.Optimizer, index: int) -> None:
    generator = torch.Generator().manual_seed(index)
    x = torch.randn(8, 4, 4, 4, generator=generator)
    optimizer.zero_grad()
    F.cross_entropy(model(x), x.mean((2, 3)).argmax(1)).backward()
    optimizer.step()


def begin(method: str, optimizer: str = "momentum", sparsity: float = 0.5, steps: int = STEPS, **wishes):
    model = network()
    chosen = optimizers(model)[optimizer]
    return model, chosen, during(model, method, sparsity, chosen, steps, **wishes)


def zero_where_masked(model: nn.Module, masks) -> bool:
    weights = dict(model.named_parameters())
    return all(not weights[name][~mask].any() for name, mask in masks.items())


def test_every_rule_of_weights_and_patterns_is_tested():
    assert RULES == [n for n, row in METHODS.items() if row.during and row.category in ("weight", "pattern")]


@pytest.mark.parametrize("method", RULES)
@pytest.mark.parametrize("optimizer", ["momentum", "adam", "adamw"])
def test_b11_masked_weights_are_zero_after_every_step_and_the_end_is_exact(method, optimizer):
    model, chosen, session = begin(method, optimizer)
    assert zero_where_masked(model, session.masks)
    for index in range(STEPS):
        step(model, chosen, index)
        assert zero_where_masked(model, session.masks)
        if index == STEPS // 2:
            chosen.load_state_dict(chosen.state_dict())
    masks = session.finish()
    assert zero_where_masked(model, masks) and overall_sparsity(masks) == pytest.approx(0.5, abs=1e-9)
    assert all(p.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("method", RULES)
def test_nothing_is_left_behind(method):
    model, chosen, session = begin(method)
    names, plain = list(model.state_dict()), network()
    step(model, chosen, 0)
    masks = session.finish()
    assert session.finish() is masks
    assert not chosen._optimizer_step_pre_hooks and not chosen._optimizer_step_post_hooks
    assert list(model.state_dict()) == names == list(plain.state_dict())
    for mine, fresh in zip(model.modules(), plain.modules(), strict=True):
        assert type(mine) is type(fresh)
        assert not mine._forward_hooks and not mine._forward_pre_hooks and not mine._backward_hooks
    assert len(chosen.param_groups) == 1 and len(chosen.param_groups[0]["params"]) == len(
        list(plain.parameters())
    )


@pytest.mark.parametrize("method", RULES)
@pytest.mark.parametrize("taken", [0, 7, STEPS + 9])
def test_b07_the_target_is_reached_however_many_steps_were_taken(method, taken):
    model, chosen, session = begin(method)
    for index in range(taken):
        step(model, chosen, index)
    assert overall_sparsity(session.finish()) == pytest.approx(0.5, abs=1e-9)
    assert zero_where_masked(model, session.masks)


@pytest.mark.parametrize("method", RULES)
def test_b55_a_session_repeats_with_its_seed_and_leaves_the_random_state_alone(method):
    def run(seed):
        model, chosen, session = begin(method, seed=seed)
        for index in range(10):
            step(model, chosen, index)
        session.finish()
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    state = torch.random.get_rng_state()
    first, again, other = run(0), run(0), run(1)
    assert torch.equal(state, torch.random.get_rng_state()) and torch.equal(first, again)
    assert torch.equal(first, other) is (method not in ("set", "rigl", "srigl", "l0"))


def test_wrong_wishes_are_errors_before_anything_happens():
    model = network()
    optimizer = optimizers(model)["adam"]
    for method, sparsity, steps, message in (
        ("gradual", 1.0, 5, r"sparsity must lie in \[0, 1\)"),
        ("gradual", 0.5, 0, "steps must be at least 1"),
        ("magnitude", 0.5, 5, "magnitude does not live in training"),
        ("nm-srste:2:7", 5 / 7, 5, "no layer has a multiple of 7 inputs"),
    ):
        with pytest.raises(ValueError, match=message):
            during(model, method, sparsity, optimizer, steps)
    assert not optimizer._optimizer_step_pre_hooks


# one rule at a time


def test_gradual_follows_the_cubic_and_never_brings_a_weight_back():
    model, chosen, session = begin("gradual", sparsity=0.8)
    last, seen = 0.75 * STEPS, []
    for index in range(STEPS):
        before = {name: mask.clone() for name, mask in session.masks.items()}
        step(model, chosen, index)
        assert not any((session.masks[name] & ~mask).any() for name, mask in before.items())
        seen.append(overall_sparsity(session.masks))
    start = 0.1 * STEPS
    assert seen == pytest.approx([cubic(k - start, last - start, 0.8) for k in range(1, STEPS + 1)], abs=2e-3)
    assert seen[:4] == [0.0] * 4 and seen[4] > 0
    assert seen[-1] == pytest.approx(0.8, abs=1e-3)


@pytest.mark.parametrize("steps", [1, 7, 250, 1000])
def test_b07_gradual_ends_at_045_for_any_period(steps):
    layer = nn.Linear(20, 20)
    rule = weight_training.Gradual(layer, 0.45, steps)
    for done in range(1, steps + 1):
        masks = rule.choose(done)
    assert overall_sparsity(masks) == pytest.approx(0.45, abs=1e-9)


def test_b06_masks_are_chosen_anew_and_do_not_multiply():
    layer = nn.Linear(100, 100)
    rule = weight_training.Movement(layer, 0.5, steps=5)
    for _ in range(5):
        rule.scores["weight"] += 0.01 * torch.randn(100, 100)
        assert overall_sparsity(rule.choose(5)) == 0.5


def test_movement_keeps_what_moves_away_from_zero_and_lets_it_return():
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.data = torch.tensor([[1.0, 1.0]])
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    session = during(layer, "movement", 0.5, optimizer, steps=1)

    def push(*gradient):
        layer.weight.grad = torch.tensor([gradient])
        optimizer.step()
        return layer.weight[0].tolist()

    assert push(1.0, -1.0) == [0.0, pytest.approx(1.1)]  # scores −1, 1
    # the pruned weight keeps its dense value 0.9, its score grows by 0.9 · 9, the other falls by 1.1 · 9
    assert push(-9.0, 9.0) == [pytest.approx(0.9), 0.0]
    assert session.finish()["weight"].tolist() == [[True, False]]


@pytest.mark.parametrize("method", ["set", "rigl", "srigl"])
def test_sparsity_of_every_layer_is_that_of_erk_at_every_step(method):
    model, chosen, session = begin(method, sparsity=0.8)
    expected = erk({name: tuple(p.shape) for name, p in prunable(model).items()}, 0.8)
    first = {name: mask.clone() for name, mask in session.masks.items()}
    for index in range(STEPS):
        step(model, chosen, index)
        for name, mask in session.masks.items():
            assert int(mask.sum()) == int(first[name].sum())
            assert float((~mask).float().mean()) == pytest.approx(expected[name], abs=1 / mask.numel())
    assert any(not torch.equal(first[name], mask) for name, mask in session.masks.items())


def test_rigl_drops_the_smallest_and_grows_where_the_gradient_is_largest():
    layer = nn.Linear(6, 1, bias=False)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.0)
    session = during(layer, "rigl", 0.5, optimizer, steps=40)  # a move every other step
    session.rule.masks = {"weight": torch.tensor([[True, True, True, True, False, False]])}
    layer.weight.data = torch.tensor([[4.0, 1.0, 3.0, 2.0, 0.0, 0.0]])
    layer.weight.grad = torch.tensor([[0.0, 0.1, 0.0, 0.0, 0.3, -0.2]])
    session.step = 2
    optimizer.step()
    assert session.masks["weight"].tolist() == [[True, False, True, True, True, False]]
    assert layer.weight.tolist() == [[4.0, 0.0, 3.0, 2.0, 0.0, 0.0]]


@pytest.mark.parametrize(("needy", "after"), [(False, [3, 3, 0]), (True, [2, 2, 2])])
def test_srigl_leaves_out_a_neuron_without_salient_weights(needy, after):
    layer = nn.Linear(4, 3, bias=False)
    rule = sparse_training.SRigL(nn.Sequential(layer, nn.Linear(3, 1)), 0.5, steps=100)
    layer.weight.data = torch.tensor([[5.0, 4.0, 0, 0], [0, 0, 3.0, 2.0], [1.0, 0.5, 0, 0]])
    rule.masks["0.weight"] = layer.weight != 0
    layer.weight.grad = torch.tensor([[0, 0, 0.1, 0.9], [0.2, 0.8, 0, 0], [0, 0, 0.3, 2.0 * needy]])
    # a third of six weights is dropped: both of the last neuron; two of largest gradient grow
    moved = rule.move("0.weight", 1 / 3)
    assert moved.sum(1).tolist() == after
    assert moved[0].tolist() == [True, True, False, not needy] and moved[1, 2:].all()
    assert moved[2].tolist() == [False, False, needy, needy]  # filled up to the others' number by gradient


def test_srigl_neurons_have_equally_many_inputs_at_every_step():
    model, chosen, session = begin("srigl", sparsity=0.8)
    for index in range(STEPS):
        step(model, chosen, index)
        for mask in session.masks.values():
            inputs = mask.flatten(1).sum(1)
            assert inputs[inputs > 0].max() - inputs[inputs > 0].min() <= 1
    assert session.masks["6.weight"].any(1).all()  # no output is left out


def test_rigl_takes_no_gradient_step_when_it_moves_weights_and_set_does():
    for method, trains in (("rigl", False), ("set", True)):
        model, chosen, session = begin(method, "momentum", sparsity=0.8)
        for index in range(3):  # of 40 steps every second one moves weights, from step 2 on
            before = {name: p.detach().clone() for name, p in model.named_parameters()}
            step(model, chosen, index)
        stayed = [
            torch.equal(p, before[name]) for name, p in model.named_parameters() if name not in session.masks
        ]
        assert all(stayed) is not trains
        kept = session.masks["4.weight"]
        assert torch.equal(model[4].weight[kept], before["4.weight"][kept]) is not trains


def test_a_sparsity_that_is_not_the_patterns_is_refused():
    model = network()
    with pytest.raises(
        ValueError, match="nm-srste 2:4 removes exactly 0.5 of the weights, got sparsity 0.75"
    ):
        during(model, "nm-srste", 0.75, optimizers(model)["adam"], 5)


def test_grown_weights_start_without_momentum():
    model, chosen, session = begin("set", "momentum", sparsity=0.8)
    for index in range(STEPS):
        step(model, chosen, index)
        for name, mask in session.masks.items():
            assert not chosen.state[dict(model.named_parameters())[name]]["momentum_buffer"][~mask].any()


def test_drop_fraction_falls_from_030_as_a_cosine_and_ends_at_three_quarters():
    shares = []

    class Watched(sparse_training.Set):
        def move(self, name, share):
            shares.append(share)
            return super().move(name, share)

    rule = Watched(nn.Linear(8, 8), 0.5, steps=400)
    optimizer = torch.optim.SGD(rule.weights.values(), lr=0.1)
    for index in range(400):
        rule.before(index, optimizer)
    assert shares == pytest.approx([0.15 * (1 + math.cos(math.pi * t / 300)) for t in range(20, 300, 20)])


def test_srste_decays_pruned_weights_and_trains_them_straight_through():
    layer = nn.Linear(4, 1, bias=False)
    layer.weight.data = torch.tensor([[4.0, 1.0, 3.0, 2.0]])
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    session = during(layer, "nm-srste", 0.5, optimizer, steps=5)
    assert layer.weight.tolist() == [[4.0, 0.0, 3.0, 0.0]]
    layer.weight.grad = torch.tensor([[0.5, 0.0, 0.0, -2.0]])
    optimizer.step()  # dense: 3.5, 1 − λ, 3, 2 + 2 − 2λ
    decay = weight_training.SparseRefined.DECAY
    assert session.rule.dense["weight"].tolist() == [
        [3.5, pytest.approx(1 - decay), 3.0, pytest.approx(4 - 2 * decay)]
    ]
    assert session.finish()["weight"].tolist() == [[True, False, False, True]]


def test_srste_leaves_layers_that_do_not_fit_dense():
    model = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert list(during(model, "nm-srste", 0.5, optimizer, steps=5).masks) == ["1.weight"]


@pytest.mark.parametrize("log_alpha", [-2.0, 0.0, 1.5])
def test_l0_gates_are_open_with_the_closed_form_probability(log_alpha):
    uniform = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000  # a grid: no sampling error
    value = torch.full_like(uniform, log_alpha)
    opened = weight_training.hard_concrete(value, uniform)
    assert float((opened > 0).double().mean()) == pytest.approx(
        float(weight_training.gate_probability(value[0])), abs=1e-4
    )
    assert opened.min() == 0 and opened.max() == 1


def test_l0_gradients_are_those_of_a_model_written_with_gates():
    layer = nn.Linear(3, 1, bias=False)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    session = during(layer, "l0", 0.5, optimizer, steps=10)
    rule, x = session.rule, torch.tensor([[1.0, 2.0, 3.0]])
    dense = rule.dense["weight"].clone().requires_grad_()
    log_alpha = rule.log_alpha["weight"].detach().clone().requires_grad_()
    opened = weight_training.hard_concrete(log_alpha, rule.uniform["weight"])
    (
        F.linear(x, dense * opened).square().sum()
        + rule.PENALTY * weight_training.gate_probability(log_alpha).sum() * (rule.penalty(0) > 0)
    ).backward()
    layer(x).square().sum().backward()
    before = rule.dense["weight"].clone()
    optimizer.step()
    assert torch.allclose(rule.log_alpha["weight"].grad, log_alpha.grad)
    assert torch.allclose(rule.dense["weight"], before - dense.grad)


def test_l0_keeps_the_gates_of_largest_log_alpha_at_their_deterministic_value():
    layer = nn.Linear(4, 1, bias=False)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    session = during(layer, "l0", 0.5, optimizer, steps=10)
    dense = session.rule.dense["weight"].clone()
    with torch.no_grad():
        session.rule.log_alpha["weight"].copy_(torch.tensor([[0.0, 5.0, -5.0, -1.0]]))
    assert session.finish()["weight"].tolist() == [[True, True, False, False]]
    expected = [dense[0, 0] * 0.5, dense[0, 1], 0.0, 0.0]  # σ(0) · 1.2 − 0.1 = 0.5, σ(5) · 1.2 − 0.1 > 1
    assert layer.weight[0].tolist() == pytest.approx([float(value) for value in expected])


def test_str_gradients_are_those_of_a_model_written_with_thresholds():
    layer = nn.Linear(3, 1, bias=False)
    layer.weight.data = torch.tensor([[0.5, -0.2, 0.3]])
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.01)
    session = during(layer, "str", 0.5, optimizer, steps=10)
    rule, x = session.rule, torch.tensor([[1.0, 2.0, 3.0]])
    with torch.no_grad():
        rule.s["weight"].fill_(-1.0)  # σ = 0.269: the second weight is below
        rule.shrink()
    dense, s = torch.tensor([[0.5, -0.2, 0.3]], requires_grad=True), torch.tensor(-1.0, requires_grad=True)
    F.linear(x, dense.sign() * (dense.abs() - s.sigmoid()).relu()).square().sum().backward()
    layer(x).square().sum().backward()
    optimizer.step()  # no decay: 1 of 3 is gone, the schedule asks for 0.5 (1 − 0.867³) = 0.17
    assert session.masks["weight"].tolist() == [[True, False, True]]
    assert torch.allclose(rule.dense["weight"], dense - 0.01 * dense.grad)
    assert float(rule.s["weight"]) == pytest.approx(float(s.detach() - 0.01 * s.grad))


@pytest.mark.parametrize("sparsity", [0.5, 0.9])
def test_str_thresholds_rise_until_the_target_is_learned(sparsity):
    model = network()
    chosen = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    session = during(model, "str", sparsity, chosen, steps=300)
    assert overall_sparsity(session.masks) < 0.01
    for index in range(300):
        step(model, chosen, index)
    assert overall_sparsity(session.masks) == pytest.approx(
        sparsity, abs=0.08
    )  # before finish trims the rest
    thresholds = [float(s.sigmoid()) for s in session.rule.s.values()]
    assert len(set(thresholds)) == 3 and min(thresholds) > 1e-3


def test_acdc_is_compressed_for_half_of_the_training():
    model, chosen, session = begin("acdc", sparsity=0.8, steps=100)
    seen = []
    for index in range(100):
        step(model, chosen, index)
        seen.append(overall_sparsity(session.masks))
    compressed = [done for done, sparsity in enumerate(seen, 1) if sparsity > 0]
    phases = [range(start, start + 5) for start in range(10, 80, 10)] + [range(85, 101)]
    assert compressed == [done for phase in phases for done in phase]
    assert all(seen[done - 1] == pytest.approx(0.8, abs=1e-3) for done in compressed)


def test_acdc_weights_return_from_zero_and_without_momentum():
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.data = torch.tensor([[1.0, 0.5]])
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    session = during(layer, "acdc", 0.5, optimizer, steps=20)  # a phase is one step

    def push():
        layer.weight.grad = torch.tensor([[0.0, -1.0]])
        optimizer.step()
        return [round(value, 4) for value in layer.weight[0].tolist()]

    assert push() == [1.0, 0.6]  # warm-up
    assert push() == [1.0, 0.0]  # compressed: the smaller one is gone
    assert push() == [1.0, 0.0]  # its gradient does not count; then decompressed
    assert push() == [1.0, 0.0] and session.masks["weight"].tolist() == [[True, False]]
    session.step = 14
    assert push() == [1.0, 0.0] and session.masks["weight"].all()  # dense from 75 on
    assert push() == [1.0, 0.1]  # one plain step from zero
