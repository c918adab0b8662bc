"""`prune` on models of other people's making: U-Nets, functional calls, half precision, export of what was cut."""

import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from survey_lib import prune


class UNet(nn.Module):
    """One level down and up, with a skip connection and a transposed convolution."""

    def __init__(self):
        super().__init__()
        self.enter, self.down = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(12, 6, 2, stride=2)
        self.leave = nn.Conv2d(14, 2, 1)

    def forward(self, x):
        skip = self.enter(x).relu()
        return self.leave(torch.cat([skip, self.up(self.down(skip).relu())], 1))


class Upscaler(nn.Module):
    """Sub-pixel convolution: four rows of `widen` are one channel of what follows."""

    def __init__(self):
        super().__init__()
        self.widen, self.leave = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.leave(F.pixel_shuffle(self.widen(x), 2).relu())


class ScaledConv(nn.Conv2d):
    """As in timm: the class overrides forward and calls the functional form."""

    def forward(self, x):
        return F.conv2d(
            x, self.weight * 0.5, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.mix = ScaledConv(3, 8, 3, padding=1), ScaledConv(8, 8, 3, padding=1, groups=8)
        self.gain, self.shift = nn.Parameter(torch.rand(8)), nn.Parameter(torch.rand(8))
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = F.batch_norm(self.mix(self.stem(x)), None, None, self.gain, self.shift, training=True)
        return F.linear(F.adaptive_avg_pool2d(F.gelu(x), 1).flatten(1), self.head.weight, self.head.bias)


def of(kind, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind().eval()


@pytest.mark.parametrize("kind", [UNet, Upscaler, Functional])
def test_masked_equals_cut_on_models_of_other_peoples_making(kind):
    model, x = of(kind), torch.randn(2, 3, 8, 8)
    masked, small = (
        prune(model, "l1-filter", 0.5, example=x, cut=cut).model.double() for cut in (False, True)
    )
    other = torch.randn(3, 3, 12, 12, dtype=torch.float64)
    assert torch.allclose(masked(other), small(other), rtol=1e-9, atol=1e-12)
    assert sum(p.numel() for p in small.parameters()) < 0.7 * sum(p.numel() for p in model.parameters())


def test_widths_of_the_cut_u_net_are_those_of_the_plan():
    small = prune(of(UNet), "l1-filter", 0.5, example=torch.randn(1, 3, 8, 8)).model
    widths = small.enter.out_channels, small.down.out_channels, small.up.out_channels, small.leave.in_channels
    assert widths == (4, 6, 3, 7)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("method", ["magnitude", "l1-filter", "fpgm", "hrank", "chip"])
def test_frozen_models_of_another_dtype_and_memory_format(method, dtype):
    model = of(UNet).to(dtype=dtype, memory_format=torch.channels_last).requires_grad_(False)
    x = torch.randn(1, 3, 8, 8).to(dtype)
    small = prune(model, method, 0.5, example=x, batches=[x]).model
    assert small.down.weight.dtype == dtype and not small.down.weight.requires_grad
    assert small.down.weight.is_contiguous(memory_format=torch.channels_last)


def test_b58_a_cut_model_compiles_and_exports_to_equal_outputs(net, batches):
    x = batches[0][0]
    small = prune(net, "l1-filter", 0.5, example=x).model.eval()
    expected = small(x)
    assert torch.equal(torch.compile(small, backend="eager")(x), expected)
    assert torch.allclose(torch.export.export(small, (x,)).module()(x), expected, atol=1e-6)


def test_b58_a_cut_model_runs_in_onnx_runtime(net, batches):
    onnxruntime = pytest.importorskip("onnxruntime")
    x = batches[0][0]
    small = prune(net, "l1-filter", 0.5, example=x).model.eval()
    file = io.BytesIO()
    torch.onnx.export(small, (x,), dynamo=True, verbose=False).save(file)
    session = onnxruntime.InferenceSession(file.getvalue())
    found = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    np.testing.assert_allclose(found, small(x).detach().numpy(), rtol=1e-4, atol=1e-5)
