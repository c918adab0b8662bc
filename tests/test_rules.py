"""The thirteen rules of the chain, over every method that stands in METHODS."""

import copy
import io
import threading
import warnings

import pytest
import torch
from torch import nn

import survey_lib
from survey_lib import METHODS, during, hold, prune

WORKING = [name for name, row in METHODS.items() if row.score or row.solve]
STRUCTURED = [name for name in WORKING if METHODS[name].structure == "structured"]
WEIGHTS = [name for name in WORKING if METHODS[name].structure != "structured"]
TRAINED = [name for name, row in METHODS.items() if row.during]
EXAMPLE = torch.zeros(2, 3, 8, 8)
STEPS, HALF = 20, 11

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def run(model, method, batches, sparsity=0.5, **wishes):
    return prune(model, method, sparsity, example=EXAMPLE, batches=batches, **wishes)


def same(left: dict, right: dict) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def constant(model: nn.Module) -> nn.Module:
    for parameter in model.parameters():
        nn.init.constant_(parameter, 0.5)
    return model


@pytest.mark.parametrize("method", WORKING)
def test_rule_1_exact_count_on_constant_scores_and_the_same_each_time(method, net, batches):
    flat = constant(net)
    first, second = (run(flat, method, batches) for _ in range(2))
    assert same(first.masks, second.masks)
    total = first.report.drop_duplicates("group")
    assert total["kept"].sum() == pytest.approx(total["total"].sum() * 0.5, abs=0.5)


@pytest.mark.parametrize("method", WORKING)
@pytest.mark.parametrize("training", [True, False])
def test_rules_2_and_3_model_gradients_flags_hooks_and_random_state_stay_as_found(
    method, training, net, batches
):
    net.train(training)
    net.conv1.bias.requires_grad_(False)
    net.head.weight.grad = torch.ones_like(net.head.weight)
    before, state = copy.deepcopy(net.state_dict()), torch.random.get_rng_state()
    run(net, method, batches)
    assert same(net.state_dict(), before)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert net.training is training and not net.conv1.bias.requires_grad and net.conv1.weight.requires_grad
    assert (
        torch.equal(net.head.weight.grad, torch.ones_like(net.head.weight)) and net.conv1.weight.grad is None
    )
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in net.modules())


@pytest.mark.parametrize("method", WORKING)
@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_rule_4_pruned_weights_stay_zero_through_training(method, optimizer, net, batches):
    result = run(net, method, batches, cut=None if method in WEIGHTS else False)
    model = result.model.train()
    rate = {"lr": 0.1, "weight_decay": 0.1} | ({"momentum": 0.9} if optimizer == "SGD" else {})
    steps = getattr(torch.optim, optimizer)(model.parameters(), **rate)
    hold(model, result.masks, steps)
    for x, y in batches * 2:
        steps.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        steps.step()
        state = model.state_dict()
        assert all(not state[name][~mask].any() for name, mask in result.masks.items())


@pytest.mark.parametrize("method", STRUCTURED)
def test_rule_5_masked_equals_cut(method, net, batches):
    masked, small = (run(net, method, batches, cut=cut).model.double() for cut in (False, True))
    x = torch.randn(3, 3, 12, 12, dtype=torch.float64)
    assert torch.allclose(masked(x), small(x), rtol=1e-9, atol=1e-12)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("method", STRUCTURED)
def test_rule_6_a_cut_never_empties_a_group(method, net, batches):
    result = run(net, method, batches, sparsity=0.99)
    kept = result.report["kept"]
    assert (kept.sum() if METHODS[method].unit == "layer" else kept.min()) == 1
    assert result.model(EXAMPLE).shape == (2, 4)
    assert result.sparsity < 0.99  # what was done is reported, not what was asked


def test_rule_6_an_emptied_layer_is_named_in_a_warning():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[0].weight.data.mul_(1e-6)
    with pytest.warns(UserWarning, match="layer collapse: nothing is left of 0"):
        prune(net, "magnitude", 0.5, scope="global")


@pytest.mark.parametrize("method", WORKING)
def test_rule_7_saved_as_one_safetensors_file_and_loaded_bit_for_bit(method, net, batches, tmp_path):
    result = run(net, method, batches)
    path = survey_lib.save(result, tmp_path / "small.safetensors")
    fresh = type(net)().eval()
    loaded = survey_lib.load(path, fresh)
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(loaded.model(x), result.model(x))
    assert same(loaded.masks, result.masks) and loaded.sparsity == result.sparsity


@pytest.mark.parametrize("method", WORKING)
def test_rule_8_same_seed_same_masks_and_equal_shapes_get_different_ones(method, net, batches):
    first, again = (run(net, method, batches, seed=3) for _ in range(2))
    assert same(first.masks, again.masks)
    if method.startswith("random"):  # B55
        other = run(net, method, batches, seed=4)
        assert not same(first.masks, other.masks)
        assert not torch.equal(first.masks["conv1.weight"], first.masks["conv2.weight"])


@pytest.mark.parametrize("method", WORKING)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_rule_9_b04_weights_that_are_not_finite(method, bad, net, batches):
    net.conv1.weight.data[0, 0, 0, 0] = bad
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ValueError, match="conv1.weight: 1 of 576 entries are NaN or infinite"):
        run(net, method, batches)
    assert all(torch.equal(net.state_dict()[k].nan_to_num(), v.nan_to_num()) for k, v in before.items())


@pytest.mark.parametrize("method", WORKING)
def test_rule_10_b85_a_scope_that_the_method_does_not_take_is_refused_before_any_work(method, net, batches):
    def run_at_all(*_):
        raise AssertionError("the model was run")

    net.register_forward_pre_hook(run_at_all)
    row = METHODS[method]
    assert row.scope in row.scopes
    for scope in {"nonsense", "row", "isomorphic"} - set(row.scopes):
        with pytest.raises(
            ValueError, match=f"unknown scope '{scope}'; {method} takes {', '.join(row.scopes)}"
        ):
            run(net, method, batches, scope=scope)


@pytest.mark.parametrize("method", WEIGHTS)
def test_rule_11_b80_what_an_earlier_round_removed_is_never_marked_as_kept(method, net, batches):
    first = run(net, "magnitude", batches, sparsity=0.8)
    second = run(first.model, method, batches, masks=first.masks)
    assert second.sparsity >= 0.5
    for name, mask in first.masks.items():
        assert not (second.masks[name] & ~mask).any()
        assert not second.model.get_parameter(name)[~second.masks[name]].any()


@pytest.mark.parametrize("method", WORKING)
def test_rule_12_b72_hooks_locks_and_kept_activations_neither_stop_a_method_nor_let_it_write(
    method, net, batches
):
    net.log, net.lock = [], threading.Lock()
    net.conv1.register_forward_hook(lambda *_: net.conv1.weight.data.mul_(0.9) is None or net.log.append(1))
    net.kept = net(EXAMPLE)
    before, length = copy.deepcopy(net.state_dict()), len(net.log)
    result = run(net, method, batches)
    assert same(net.state_dict(), before) and len(net.log) == length
    assert result.model is not net and result.model(EXAMPLE).shape == (2, 4)


@pytest.mark.parametrize("session_first", [True, False])
@pytest.mark.parametrize("method", TRAINED)
def test_rule_13_b77_a_resumed_session_equals_the_uninterrupted_one_bit_for_bit(
    method, session_first, batches
):
    def begin(width: int, states=()):
        torch.manual_seed(width)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(32, 4),
        )
        optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=0.01)
        for part, state in zip((model, optimizer), states, strict=False):
            part.load_state_dict(state)
        return model, optimizer, during(model, method, 0.5, optimizer, STEPS, example=EXAMPLE)

    def train(model, optimizer, steps):
        for number in steps:
            x, y = batches[number % 2]
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()

    model, optimizer, session = begin(0)
    train(model, optimizer, range(HALF))
    torch.save([part.state_dict() for part in (model, optimizer, session)], file := io.BytesIO())
    train(model, optimizer, range(HALF, STEPS))
    file.seek(0)
    states = torch.load(file, weights_only=True)
    other, descent, resumed = begin(1, () if session_first else states[:2])
    resumed.load_state_dict(states[2])
    if session_first:
        other.load_state_dict(states[0])
        descent.load_state_dict(states[1])
    train(other, descent, range(HALF, STEPS))
    assert same(resumed.finish(), session.finish()) and same(other.state_dict(), model.state_dict())


@pytest.mark.parametrize("sparsity", [1.0, -0.1, 50, float("nan"), "half"])
@pytest.mark.parametrize("method", ["magnitude", "l1-filter"])
def test_rule_9_b17_sparsity_out_of_range(method, sparsity, net, batches):
    with pytest.raises(ValueError, match=r"sparsity must lie in \[0, 1\)"):
        run(net, method, batches, sparsity=sparsity)


def test_rule_9_unknown_method_lists_near_matches(net):
    with pytest.raises(ValueError, match="unknown method 'magnitud'; near: magnitude"):
        prune(net, "magnitud", 0.5)


@pytest.mark.parametrize("method", sorted(METHODS.keys() - set(WORKING)))
def test_rule_9_a_method_of_training_or_rounds_is_not_silently_another_one(method, net, batches):
    with pytest.raises(ValueError, match=rf"during\(model, '{method}'|RunConfig\(method='{method}'"):
        run(net, method, batches)


@pytest.mark.parametrize("method", ["magnitude", "l1-filter"])
def test_rule_9_b40_a_name_that_matches_nothing(method, net, batches):
    with pytest.raises(ValueError, match="'conv9' matches no prunable layer; near: .*conv1"):
        run(net, method, batches, layers=["conv9"])
    with pytest.raises(ValueError, match="'bn1' matches no prunable layer"):
        run(net, method, batches, layers=["bn1"])


@pytest.mark.parametrize("method", ["magnitude", "l1-filter"])
def test_b40_wrapped_models_and_their_prefixes(method, net, batches):
    for wrapped, prefix in (
        (nn.DataParallel(net), "module."),
        (torch.compile(net, backend="eager"), "_orig_mod."),
    ):
        result = run(wrapped, method, batches, layers=[prefix + "conv1"])
        assert list(result.report["layer"]) == ["conv1"]


def test_b41_protected_layers_and_all_that_is_coupled_to_them_stay_whole(net, batches):
    free = run(net, "l1-filter", batches)
    assert free.model(EXAMPLE).shape == (2, 4)
    assert {"head"} <= {name for name, _ in free.skipped}
    kept = run(net, "l1-filter", batches, protect=["conv2"])
    assert kept.model.conv2.out_channels == kept.model.stem[0].out_channels == 8  # one coupled group
    assert kept.model.conv1.out_channels == 4


@pytest.mark.parametrize("method", STRUCTURED)
def test_b39_frozen_models_are_pruned_like_others_and_stay_frozen(method, net, batches):
    if METHODS[method].needs and not batches:
        return
    free = run(net, method, batches)
    frozen = run(copy.deepcopy(net).requires_grad_(False), method, batches)
    assert same(free.masks, frozen.masks)
    assert not any(p.requires_grad for p in frozen.model.parameters())


def test_b10_channel_parameter_and_mac_reductions_are_three_numbers():
    net = nn.Sequential(
        nn.Conv2d(3, 64, 3, bias=False),
        nn.Conv2d(64, 64, 3, bias=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )
    x = torch.zeros(1, 3, 8, 8)
    result = prune(net, "l1-filter", 0.5, example=x)
    before, after = survey_lib.measure(net, x), survey_lib.measure(result.model, x)
    assert (before["parameters"], after["parameters"], result.sparsity) == (39_242, 10_410, 0.5)
    # 3·64·9·36 + 64·64·9·16 + 640 and 3·32·9·36 + 32·32·9·16 + 320
    assert (before["macs"], after["macs"]) == (652_672, 178_880)


def test_b12_masked_models_can_be_copied_and_the_copies_are_independent(net, batches):
    model = run(net, "magnitude", batches).model
    model(batches[0][0]).sum().backward()
    copied = copy.deepcopy(model)
    copied.conv1.weight.data.zero_()
    assert model.conv1.weight.any()


def test_realised_sparsity_far_from_the_request_is_warned_about():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        prune(nn.Sequential(nn.Linear(1, 3)), "magnitude", 0.5)
    assert any("asked for sparsity 0.500, realised 0.667" in str(w.message) for w in caught)
