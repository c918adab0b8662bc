"""torchvision's families, small members or small configurations: the cut is checked against the mask inside."""

import pytest
import torch
import torchvision.models as tv

from survey_lib.chain.coupling import trace
from survey_lib.chain.surgery.cut import cut


def third_removed(coupling):
    return {group.name: torch.arange(group.size) % 3 != 1 for group in coupling.groups}


def cut_third(model, size=64):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    example = torch.randn(1, 3, size, size)
    coupling = trace(model, example)
    return coupling, cut(model, coupling, third_removed(coupling), example)


@pytest.mark.parametrize(
    "name, groups",
    [
        ("resnet18", 12),
        ("mobilenet_v3_small", 27),
        ("shufflenet_v2_x0_5", 20),
        ("squeezenet1_1", 25),
        ("mnasnet0_5", 25),
        ("regnet_y_400mf", 53),
    ],
)
def test_convolutional_families_are_exact(name, groups):
    coupling, result = cut_third(tv.get_model(name, weights=None))
    assert len(coupling.groups) == groups
    assert not result.refused and not result.over_kept
    assert result.model(torch.randn(2, 3, 64, 64)).shape == (2, 1000)


def test_googlenet_in_training_mode_loses_channels_in_its_auxiliary_heads():
    model = tv.googlenet(weights=None, init_weights=False, num_classes=10)
    coupling, result = cut_third(model, 96)
    assert {"aux1.conv.conv", "aux2.fc1"} <= {group.name for group in coupling.groups}
    assert not result.refused and result.model.training
    assert result.model(torch.randn(2, 3, 96, 96)).aux_logits1.shape == (2, 10)


def vit():
    return tv.VisionTransformer(32, 8, num_layers=2, num_heads=3, hidden_dim=24, mlp_dim=30, num_classes=5)


def swin():
    return tv.SwinTransformer([4, 4], 24, [2, 2], [3, 6], [2, 2], num_classes=5)


def maxvit():
    return tv.MaxVit((64, 64), 12, 2, [12, 24], [1, 1], 6, 0.0, num_classes=5)


def convnext():
    from torchvision.models.convnext import CNBlockConfig

    return tv.ConvNeXt([CNBlockConfig(12, 24, 1), CNBlockConfig(24, None, 1)], num_classes=5)


@pytest.mark.parametrize("build, size", [(vit, 32), (swin, 64), (maxvit, 64), (convnext, 64)])
def test_transformers_are_exact_over_kept_channels(build, size):
    coupling, result = cut_third(build(), size)
    assert not result.refused and result.over_kept
    assert result.model(torch.randn(3, 3, size, size)).shape == (3, 5)
    assert sum(p.numel() for p in result.model.parameters()) < 0.75 * sum(
        p.numel() for p in build().parameters()
    )


def test_heads_are_chosen_whole_where_their_width_is_a_scale():
    vit_groups, swin_groups = (trace(m, torch.ones(1, 3, s, s)) for m, s in ((vit(), 32), (swin(), 64)))
    assert vit_groups["encoder.layers.encoder_layer_0.self_attention"].size == 3
    assert swin_groups["features.1.0.attn.qkv"].size == 3
    assert ("features.0.0", "features.1.0.attn.qkv", "features.1.1.attn.qkv") in swin_groups.counts
