"""Masks stay masks: through optimizers, copies, checkpoints, formats, compilation and export."""

import copy
import gc
import io
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

from survey_lib.chain import masks as masking

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "decay": lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.1),
    "adam": lambda p: torch.optim.Adam(p, lr=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1),
}
each_optimizer = pytest.mark.parametrize("build", OPTIMIZERS.values(), ids=OPTIMIZERS)


def half(weight):
    return (torch.arange(weight.numel()) % 2 == 0).view(weight.shape)


def step(model, optimizer, x):
    optimizer.zero_grad()
    model(x).square().sum().backward()
    optimizer.step()


def is_masked(model, masks):
    weights = masking.tensors(model)
    return all(bool((weights[name][~mask] == 0).all()) for name, mask in masks.items())


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))


@each_optimizer
def test_b11_pruned_weights_stay_zero_after_dense_steps(build):
    layer, x = nn.Linear(4, 4, bias=False), torch.randn(8, 4)
    optimizer = build(layer.parameters())
    for _ in range(3):
        step(layer, optimizer, x)
    masks = {"weight": half(layer.weight)}
    masking.hold(layer, masks, optimizer)
    for _ in range(3):
        step(layer, optimizer, x)
        assert is_masked(layer, masks) and int(layer.weight.count_nonzero()) == 8


@each_optimizer
def test_b11_after_the_optimizer_is_loaded(build):
    layer, x = nn.Linear(4, 4), torch.randn(8, 4)
    optimizer = build(layer.parameters())
    step(layer, optimizer, x)
    masks = {"weight": half(layer.weight)}
    masking.hold(layer, masks, optimizer)
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step(layer, optimizer, x)
    assert is_masked(layer, masks)


@pytest.mark.parametrize("enlarge", ["replace all", "replace one", "in place"])
def test_b11_a_mask_enlarged_in_mid_training(enlarge):
    layer, x = nn.Linear(4, 4), torch.randn(8, 4)
    optimizer = OPTIMIZERS["adam"](layer.parameters())
    held = masking.hold(layer, {"weight": half(layer.weight)}, optimizer)
    step(layer, optimizer, x)
    larger = half(layer.weight) & (torch.arange(4) < 2)
    if enlarge == "replace all":
        held.masks = {"weight": larger}
    elif enlarge == "replace one":
        held.masks["weight"] = larger
    else:
        held.masks["weight"] &= larger
    step(layer, optimizer, x)
    assert is_masked(layer, {"weight": larger}) and int(layer.weight.count_nonzero()) == 4


def test_b11_closure_as_in_lightning():
    layer, x = nn.Linear(4, 4), torch.randn(8, 4)
    optimizer = OPTIMIZERS["momentum"](layer.parameters())
    masks = {"weight": half(layer.weight)}
    masking.hold(layer, masks, optimizer)

    def closure():
        optimizer.zero_grad()
        loss = layer(x).square().sum()
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)
        assert is_masked(layer, masks)


def test_b11_gradient_scaler_and_clipping():
    layer, x = nn.Linear(4, 4), torch.randn(8, 4)
    optimizer, scaler = OPTIMIZERS["adamw"](layer.parameters()), torch.amp.GradScaler("cpu")
    masks = {"weight": half(layer.weight)}
    masking.hold(layer, masks, optimizer)
    scaler.scale(layer(x).square().sum()).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
    scaler.step(optimizer)
    assert is_masked(layer, masks)


def test_removed_hold_lets_weights_grow_again():
    layer, x = nn.Linear(4, 4), torch.randn(8, 4)
    optimizer = OPTIMIZERS["sgd"](layer.parameters())
    masking.hold(layer, {"weight": half(layer.weight)}, optimizer).remove()
    step(layer, optimizer, x)
    assert int(layer.weight.count_nonzero()) == 16


def test_group_masks_hold_buffers_too():
    layer = nn.BatchNorm1d(4)
    optimizer = OPTIMIZERS["sgd"](layer.parameters())
    masks = {name: torch.arange(4) > 0 for name in ("weight", "bias", "running_mean")}
    masking.hold(layer, masks, optimizer)
    step(layer, optimizer, torch.randn(8, 4) + 3)
    assert is_masked(layer, masks) and bool(layer.running_mean[1:].all())


@pytest.mark.parametrize("moment", ["at once", "after forward", "after no_grad forward"])
def test_b12_masked_model_can_be_copied(moment):
    model, x = small_net(), torch.randn(8, 4)
    masks = {"0.weight": half(model[0].weight)}
    optimizer = OPTIMIZERS["momentum"](model.parameters())
    masking.hold(model, masks, optimizer)
    if moment != "at once":
        with torch.set_grad_enabled(moment == "after forward"):
            model(x)
    twin = copy.deepcopy(model)
    assert torch.equal(twin(x), model(x)) and is_masked(twin, masks)
    assert not {p.data_ptr() for p in twin.parameters()} & {p.data_ptr() for p in model.parameters()}
    before = copy.deepcopy(model.state_dict())
    twin_optimizer = OPTIMIZERS["momentum"](twin.parameters())
    masking.hold(twin, masks, twin_optimizer)
    step(twin, twin_optimizer, x)
    assert is_masked(twin, masks)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_b13_checkpoint_round_trip_without_foreign_keys():
    model, x = small_net(), torch.randn(8, 4)
    masks = {"0.weight": half(model[0].weight)}
    masking.apply(model, masks)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "masks": masks}, file)
    file.seek(0)
    stored, fresh = torch.load(file, weights_only=True), small_net()
    assert stored["model"].keys() == fresh.state_dict().keys()
    fresh.load_state_dict(stored["model"], strict=True)
    assert torch.equal(fresh(x), model(x))
    optimizer = OPTIMIZERS["adam"](fresh.parameters())
    masking.hold(fresh, stored["masks"], optimizer)
    step(fresh, optimizer, x)
    assert is_masked(fresh, masks)


def test_b13_dense_checkpoint_loaded_into_a_held_model():
    model, x = small_net(), torch.randn(8, 4)
    masks = {"0.weight": half(model[0].weight)}
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    masking.hold(model, masks, optimizer)
    model.load_state_dict(small_net().state_dict())
    step(model, optimizer, x)
    assert is_masked(model, masks)


def test_b13_masks_of_torch_prune_are_taken_over():
    model = small_net()
    torch_prune.l1_unstructured(model[0], "weight", 0.5)
    masks = masking.masks_from_torch(model)
    torch_prune.remove(model[0], "weight")
    assert list(masks) == ["0.weight"] and is_masked(model, masks)
    assert masking.overall_sparsity(masks) == 0.5


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_b46_dtype_is_kept(dtype):
    layer = nn.Conv2d(4, 6, 3).to(dtype)
    optimizer = OPTIMIZERS["sgd"](layer.parameters())
    masks = {"weight": half(layer.weight)}
    held = masking.hold(layer, masks, optimizer)
    layer.weight.data += 1
    held()
    assert layer.weight.dtype == dtype and is_masked(layer, masks)


def test_b46_channels_last_is_kept():
    layer = nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last)
    optimizer = OPTIMIZERS["momentum"](layer.parameters())
    masks = {"weight": half(layer.weight)}
    masking.hold(layer, masks, optimizer)
    step(layer, optimizer, torch.randn(2, 4, 5, 5))
    assert layer.weight.is_contiguous(memory_format=torch.channels_last) and is_masked(layer, masks)


def test_b46_model_changes_dtype_while_held():
    layer = nn.Linear(4, 4)
    masks = {"weight": half(layer.weight)}
    held = masking.hold(layer, masks, OPTIMIZERS["sgd"](layer.parameters()))
    held()
    layer.double().weight.data += 1
    held()
    assert layer.weight.dtype == torch.float64 and is_masked(layer, masks)


@pytest.mark.parametrize("value", [2.0, 0.5])
def test_b46_masks_that_are_not_binary_are_refused(value):
    layer = nn.Linear(2, 2)
    before = layer.weight.clone()
    with pytest.raises(ValueError, match="must be bool"):
        masking.apply(layer, {"weight": torch.full((2, 2), value)})
    assert torch.equal(layer.weight, before)


@pytest.mark.parametrize(
    "masks, message",
    [({"wieght": torch.ones(2, 2).bool()}, "no such tensor"), ({"weight": torch.ones(2, 3).bool()}, "shape")],
)
def test_masks_that_do_not_fit_are_refused(masks, message):
    with pytest.raises(ValueError, match=message):
        masking.apply(nn.Linear(2, 2), masks)


def test_nan_weights_are_zeroed_by_a_mask():
    layer = nn.Linear(2, 1)
    layer.weight.data.fill_(float("nan"))
    masking.apply(layer, {"weight": torch.tensor([[True, False]])})
    assert layer.weight[0, 1] == 0


def test_b40_wrapped_models_are_unwrapped():
    model = small_net()
    wrapped = nn.DataParallel(torch.compile(model, backend="eager"))
    masks = {"0.weight": half(model[0].weight)}
    masking.hold(wrapped, masks, OPTIMIZERS["sgd"](model.parameters()))
    assert masking.unwrap(wrapped) is model and is_masked(model, masks)
    assert list(masking.prunable(wrapped)) == ["0.weight", "2.weight"]


def test_b45_holds_keep_no_model_alive():
    alive = []
    for _ in range(5):
        model = small_net()
        optimizer = OPTIMIZERS["adam"](model.parameters())
        masking.hold(model, {"0.weight": half(model[0].weight)}, optimizer)
        step(model, optimizer, torch.randn(8, 4))
        alive.append(weakref.ref(model))
    del model, optimizer
    gc.collect()
    assert all(reference() is None for reference in alive)


def conv_net():
    torch.manual_seed(0)
    trunk = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*trunk, nn.Linear(4 * 36, 2)).eval()


def masked_conv_net():
    model = conv_net()
    masks = {name: half(weight) for name, weight in masking.prunable(model).items()}
    return masking.apply(model, masks), masks


def test_b58_compiled_model_follows_later_masks():
    model, x = conv_net(), torch.randn(2, 3, 8, 8)
    compiled = torch.compile(model, backend="eager")
    assert torch.equal(compiled(x), model(x))
    masks = {name: half(weight) for name, weight in masking.prunable(model).items()}
    masking.apply(compiled, masks)
    first = compiled(x)
    assert torch.equal(first, model(x)) and is_masked(model, masks)
    masking.apply(model, {"0.weight": torch.zeros_like(model[0].weight, dtype=torch.bool)})
    assert torch.equal(compiled(x), model(x)) and not torch.equal(compiled(x), first)


def test_b58_export_keeps_zeros_and_leaves_the_model():
    (model, masks), x = masked_conv_net(), torch.randn(2, 3, 8, 8)
    before = copy.deepcopy(model.state_dict())
    exported = torch.export.export(model, (x,))
    assert torch.allclose(exported.module()(x), model(x))
    assert all(bool((exported.state_dict[name][~mask] == 0).all()) for name, mask in masks.items())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_b58_jit_trace_agrees():
    (model, _), x = masked_conv_net(), torch.randn(2, 3, 8, 8)
    assert torch.equal(torch.jit.trace(model, x)(x), model(x))


def test_b58_onnx_runtime_agrees_and_initializers_hold_the_zeros():
    onnxruntime, onnx = pytest.importorskip("onnxruntime"), pytest.importorskip("onnx")
    (model, masks), x = masked_conv_net(), torch.randn(2, 3, 8, 8)
    program = torch.onnx.export(model, (x,), dynamo=True, verbose=False)
    file = io.BytesIO()
    program.save(file)
    session = onnxruntime.InferenceSession(file.getvalue())
    (output,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert np.abs(output - model(x).detach().numpy()).max() < 1e-4
    stored = {
        i.name: onnx.numpy_helper.to_array(i)
        for i in onnx.load_from_string(file.getvalue()).graph.initializer
    }
    assert not stored["4.weight"][~masks["4.weight"].numpy()].any()


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.MultiheadAttention(8, 2, batch_first=True),
        lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0),
    ],
)
def test_b33_masks_inside_attention_are_the_weights_that_are_used(build):
    torch.manual_seed(0)
    layer, x = build(), torch.randn(2, 3, 8)
    run = (lambda: layer(x, x, x)[0]) if isinstance(layer, nn.MultiheadAttention) else (lambda: layer(x))
    masks = {
        n: torch.rand(p.shape) > 0.5
        for n, p in layer.named_parameters()
        if n.endswith(("in_proj_weight", "out_proj.weight"))
    }
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    masking.hold(layer, masks, optimizer)
    for _ in range(2):
        optimizer.zero_grad()
        run().square().sum().backward()
        optimizer.step()
        assert all(not layer.get_parameter(name)[~mask].any() for name, mask in masks.items())
    layer.eval()
    with torch.no_grad():
        before = run()
        layer.get_parameter(next(name for name in masks if "out_proj" in name)).mul_(10)
        assert not torch.allclose(before, run())
