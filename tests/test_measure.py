"""Counting and timing: hand-computed values, and not a trace left in the model."""

import copy
import gc
import weakref

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune as torch_prune
from torchvision.models import resnet18, vit_b_16

from survey_lib.chain import masks as masking
from survey_lib.chain.patterns import n_of_m, parse
from survey_lib.measure import compare_latency, latency, measure, reductions, sizes, sparsity, storage

TRIPLE = (torch.randn(1, 3, 8),) * 3


class FunctionalConv(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8, 3, 3, 3))

    def forward(self, x):
        return F.conv2d(x, self.weight, padding=1)


class Failing(nn.Sequential):
    def forward(self, x):
        self.last = super().forward(x)
        raise RuntimeError("half-way")


def small_cnn():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(4, 4, 3)
    )


def half(weight):
    return (torch.arange(weight.numel()) % 2 == 0).view(weight.shape)


def traces(model):
    return [
        (
            {k: v for k, v in vars(m).items() if not k.startswith("_") or "hook" in k},
            {k: id(v) for k, v in vars(m).items()},
            [(p.requires_grad, p.grad is None, p.dtype, p.device, p._version) for p in m.parameters()],
        )
        for m in model.modules()
    ]


@pytest.mark.parametrize("batch", [1, 4])
def test_b47_module_and_functional_conv_count_alike_per_sample(batch):
    x = torch.randn(batch, 3, 8, 8)
    assert measure(nn.Conv2d(3, 8, 3, padding=1), x)["macs"] == 13_824
    assert measure(FunctionalConv(), x)["macs"] == 13_824


def test_b47_masks_change_only_the_nonzero_column():
    model = FunctionalConv()
    masked = measure(model, torch.randn(1, 3, 8, 8), {"weight": half(model.weight)})
    assert (masked["macs"], masked["nonzero_macs"]) == (13_824, 6_912)
    assert (masked["parameters"], masked["nonzero_parameters"]) == (216, 108)
    assert bool(model.weight.all())


def test_b47_grouped_strided_dilated_and_transposed_convs():
    x = torch.randn(1, 4, 9, 9)
    conv = nn.Conv2d(4, 8, 3, stride=2, dilation=2, groups=2)  # 3x3 outputs, 2x3x3 inputs each
    assert measure(conv, x)["macs"] == 8 * 3 * 3 * 2 * 3 * 3
    assert measure(nn.ConvTranspose2d(4, 2, 2, stride=2), x)["macs"] == 81 * 4 * 2 * 4


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("grad", [True, False])
def test_b48_attention_and_lstm_in_every_mode(training, grad):
    with torch.set_grad_enabled(grad):
        assert measure(nn.MultiheadAttention(8, 2, batch_first=True).train(training), TRIPLE)["macs"] == 912
        assert measure(nn.LSTM(4, 3).train(training), torch.randn(5, 1, 4))["macs"] == 420
        assert measure(nn.GRU(4, 3).train(training), torch.randn(5, 2, 4))["macs"] == 315


def test_b48_recurrent_batch_layouts_agree():
    assert measure(nn.LSTM(4, 3), torch.randn(5, 7, 4))["macs"] == 420
    assert measure(nn.LSTM(4, 3, batch_first=True), torch.randn(7, 5, 4))["macs"] == 420
    assert measure(nn.LSTM(4, 3), torch.randn(5, 4))["macs"] == 420


def test_b48_vit_counts_attention():
    assert measure(vit_b_16(), torch.randn(1, 3, 224, 224))["macs"] == pytest.approx(17_563.8e6, rel=1e-5)


def test_b48_operators_without_a_rule_are_listed():
    class Spectrum(nn.Module):
        def forward(self, x):
            return torch.fft.fft(x).real

    counted = measure(Spectrum(), torch.randn(2, 8))
    assert counted["macs"] == 0 and any("fft" in name for name in counted["uncounted"])
    assert measure(nn.Linear(3, 2), torch.randn(2, 3))["uncounted"] == []


def test_b48_zeros_inside_attention_scale_only_the_projections():
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    masks = {"in_proj_weight": half(attention.in_proj_weight)}
    assert measure(attention, TRIPLE, masks)["nonzero_macs"] == 912 - 576 / 2


def test_b43_measuring_leaves_no_traces():
    model, x = small_cnn(), torch.randn(2, 3, 8, 8)
    model[0].requires_grad_(False)
    model[1].eval()
    state, before, rng = copy.deepcopy(model.state_dict()), traces(model), torch.get_rng_state()
    first = measure(model, x)
    latency(model, x, seconds=0.01)
    compare_latency({"a": model, "b": model}, x, seconds=0.01)
    sizes(model)
    assert measure(model, x) == first
    assert traces(model) == before and torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("call", [measure, lambda model, x: latency(model, x, seconds=0.01)])
def test_b43_no_traces_when_the_forward_raises(call):
    model = Failing(nn.Linear(3, 2), nn.Dropout())
    before, fast_path = traces(model), torch.backends.mha.get_fastpath_enabled()
    with pytest.raises(ValueError, match=r"does not run on Tensor \(1, 3\) float32.*half-way"):
        call(model, torch.randn(1, 3))
    assert traces(model) == before and model.training
    assert torch.is_grad_enabled() and torch.backends.mkldnn.enabled
    assert torch.backends.mha.get_fastpath_enabled() == fast_path


def test_csr_of_half_precision_has_two_bytes_a_value():
    matrix = np.array([[0, 1.5], [2, 0]], dtype=np.float16)
    values = np.frombuffer(storage.csr(matrix)[:4], dtype=np.float16)
    assert values.tolist() == [1.5, 2.0] and len(storage.csr(matrix)) == 2 * 2 + 2 * 4 + 3 * 4


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_b43_dtype_is_kept_and_bytes_follow_it(dtype):
    model = small_cnn().to(dtype)
    counted = measure(model, torch.randn(1, 3, 8, 8, dtype=dtype))
    assert model[0].weight.dtype == dtype
    assert counted["bytes"] == sum(t.numel() * t.element_size() for t in model.state_dict().values())


def test_b50_named_sparsities_are_the_same_before_and_after_masks_are_permanent():
    model = nn.Sequential(nn.Conv2d(10, 40, 5, bias=False), nn.Flatten(), nn.Linear(40, 12))
    masks = {"0.weight": half(model[0].weight)}
    named = sparsity(model, masks)
    assert model[0].weight.numel() == 10_000
    assert named["sparsity_pruned"] == 0.5
    assert named["sparsity_all"] == pytest.approx(5000 / 10_492)
    assert sparsity(masking.masked_copy(model, masks)) == named


def test_b50_hooks_of_torch_prune_read_like_permanent_masks():
    model, x = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(3, 8)
    torch_prune.l1_unstructured(model[0], "weight", 0.5)
    hooked = measure(model, x)
    torch_prune.remove(model[0], "weight")
    permanent = measure(model, x)
    for key in ("nonzero_parameters", "sparsity_pruned", "sparsity_all", "macs", "nonzero_macs"):
        assert hooked[key] == permanent[key]
    assert permanent["nonzero_macs"] == 16 + 8


def test_b50_normalised_weights_count_their_zeros():
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 2, bias=False))
    name = "parametrizations.weight.original1"
    masks = {name: half(masking.tensors(layer)[name])}
    assert measure(layer, torch.randn(1, 4), masks)["nonzero_macs"] == 4


def test_b10_channel_parameter_and_mac_reductions_are_three_numbers():
    def net(width):
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)]
        return nn.Sequential(
            nn.Conv2d(3, width, 3, bias=False), nn.Conv2d(width, width, 3, bias=False), *head
        )

    dense, slim = (measure(net(width), torch.randn(1, 3, 8, 8)) for width in (64, 32))
    assert (dense["parameters"], slim["parameters"]) == (39_242, 10_410)
    reduced = reductions(dense, slim)
    assert reduced["parameter_reduction"] == pytest.approx(0.735, abs=5e-4)
    assert reduced["mac_reduction"] == pytest.approx(1 - 178_496 / 652_160, abs=1e-3)
    assert reduced["compression"] == pytest.approx(39_242 / 10_410)


def test_b51_latency_row_carries_its_circumstances():
    model, threads = small_cnn().train(), torch.get_num_threads()
    row = latency(model, torch.randn(5, 3, 8, 8), threads=1, seconds=0.02)
    assert row["batch"] == 5 and row["threads"] == 1 and row["machine"] and row["runs"] >= 1
    assert 0 < row["median_s"] < 1 and row["iqr_s"] >= 0
    assert model.training and torch.get_num_threads() == threads


def test_b51_comparison_orders_models_of_very_different_size():
    models = {"one": nn.Linear(512, 512), "eight": nn.Sequential(*[nn.Linear(512, 512) for _ in range(8)])}
    table = compare_latency(models, torch.randn(64, 512), seconds=0.1)
    assert list(table["model"]) == ["one", "eight"]
    assert table["ratio"][0] == 1 and table["ratio"][1] > 2
    with pytest.raises(ValueError, match="no models"):
        compare_latency({}, torch.randn(1, 8))


def test_b51_subnormals_are_counted():
    model = nn.Linear(4, 4)
    with torch.no_grad():
        model.weight[0] = 1e-40
    assert measure(model, torch.randn(1, 4))["subnormals"] == 4


def test_shared_weights_count_once_and_masks_reach_them_under_any_name():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    counted = measure(model, torch.randn(1, 4), {"1.weight": half(model[0].weight)})
    assert (counted["parameters"], counted["bytes"]) == (16, 64)
    assert (counted["macs"], counted["nonzero_macs"]) == (32, 16)


def test_dict_and_tuple_inputs():
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    assert measure(attention, dict(zip(("query", "key", "value"), TRIPLE, strict=True)))["macs"] == 912


def test_masks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="no such tensor"):
        measure(nn.Linear(2, 2), torch.ones(1, 2), {"wieght": torch.ones(2, 2, dtype=torch.bool)})


def test_sizes_of_a_matrix_by_hand():
    layer = nn.Linear(8, 2, bias=False)
    keep = torch.tensor([[True, True, False, False] * 2] * 2)
    table = sizes(layer, {"weight": keep})["raw"]
    assert table["dense"] == 16 * 4
    assert table["csr"] == 8 * 4 + 8 * 4 + 3 * 4  # values, columns, row starts
    assert table["bitmask"] == 8 * 4 + 16 // 8
    assert table["2:4"] == 8 * 4 + 8 * 2 // 8


def test_sizes_leave_a_matrix_dense_that_breaks_the_pattern():
    layer = nn.Linear(8, 2, bias=False)
    table = sizes(layer)["raw"]
    assert table["2:4"] == table["dense"]


@pytest.mark.parametrize("pattern", ["2:4", "1:4", "4:8"])
def test_packed_values_and_places_rebuild_the_matrix(pattern):
    n, m = parse(pattern)
    weight = torch.randn(6, 16)
    matrix = (weight * n_of_m(weight.abs(), n, m)).numpy()
    data = storage.n_of_m(matrix, pattern)
    groups = matrix.size // m
    values = np.frombuffer(data[: groups * n * 4], np.float32).reshape(groups, n)
    width = (m - 1).bit_length()
    bits = np.unpackbits(np.frombuffer(data[groups * n * 4 :], np.uint8))[: groups * n * width]
    places = (bits.reshape(groups, n, width) << np.arange(width)).sum(-1)
    rebuilt = np.zeros((groups, m), np.float32)
    np.put_along_axis(rebuilt, places, values, 1)
    assert np.array_equal(rebuilt.reshape(matrix.shape), matrix)


def test_b45_measuring_keeps_no_model_alive():
    alive = []
    for _ in range(3):
        model = resnet18(num_classes=10)
        measure(model, torch.randn(1, 3, 32, 32))
        latency(model, torch.randn(1, 3, 32, 32), seconds=0.01)
        alive.append(weakref.ref(model))
    del model
    gc.collect()
    assert all(reference() is None for reference in alive)
