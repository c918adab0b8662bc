"""Networks: parameter counts of the literature, seeds, shapes, errors."""

import pytest
import torch

from survey_lib.experiment.networks import models


@pytest.mark.parametrize(
    "name, in_shape, count",
    [
        ("lenet-300-100", (1, 28, 28), 266_610),
        ("lenet-5", (1, 28, 28), 431_080),
        ("lenet-5-caffe", (1, 28, 28), 431_080),
        ("resnet-8", (3, 32, 32), 75_290),
        ("resnet-20", (3, 32, 32), 269_722),
        ("resnet-20-b", (3, 32, 32), 269_722 + 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64),
        ("resnet-56", (3, 32, 32), 853_018),
        ("torchvision:resnet18", (3, 32, 32), 11_181_642),
    ],
)
def test_parameter_counts(name, in_shape, count):
    assert sum(p.numel() for p in models.build(name, 10, in_shape).parameters()) == count


@pytest.mark.parametrize("name", models.MODELS)
@pytest.mark.parametrize("in_shape", [(1, 28, 28), (3, 32, 32), (1, 8, 8)], ids=str)
def test_every_model_reads_every_data_set_and_trains(name, in_shape):
    if name.startswith("lenet-5") and in_shape == (1, 8, 8):
        pytest.skip("too small for its convolutions")
    model = models.build(name, 7, in_shape)
    scores = model(torch.randn(2, *in_shape, generator=torch.Generator().manual_seed(0)))
    scores.sum().backward()
    assert scores.shape == (2, 7) and all(p.grad is not None for p in model.parameters())


def test_b55_seeds_decide_the_weights_and_the_callers_random_state_stays():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, same, other = (models.build("resnet-8", 10, (3, 32, 32), seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])
    assert not torch.equal(first["layer1.0.conv1.weight"], first["layer1.0.conv2.weight"])


def test_option_a_shortcut_takes_every_second_pixel_and_pads_channels_with_zeros():
    block = models.BasicBlock(2, 4, 2, "A").eval()
    torch.nn.init.zeros_(block.conv2.weight)
    x = torch.arange(1.0, 33.0).view(1, 2, 4, 4)
    out = block(x)
    assert torch.equal(out[:, 1:3], x[:, :, ::2, ::2]) and not out[:, [0, 3]].any()


def test_lenet_5_of_caffe_has_430500_weights_and_is_linear_up_to_its_pools():
    model = models.build("lenet-5-caffe", 10, (1, 28, 28))
    assert sum(p.numel() for p in model.parameters() if p.dim() > 1) == 430_500
    pools = [at for at, module in enumerate(model) if isinstance(module, torch.nn.MaxPool2d)]
    negative = -torch.ones(1, 20, 24, 24)
    assert torch.equal(model[1 : pools[0] + 1](negative), -torch.ones(1, 20, 12, 12))


def test_unknown_names_list_near_matches():
    with pytest.raises(ValueError, match="near: .*resnet-20"):
        models.build("resnet20", 10, (3, 32, 32))
    with pytest.raises(ValueError, match="near: torchvision:resnet50"):
        models.build("torchvision:resnet-50", 10, (3, 32, 32))
