"""Blocks: found by running the network, scored, left out whole."""

import copy
import math
import warnings

import pytest
import torch
import torchvision
from torch import nn

import survey_lib
from survey_lib.chain import blocks
from survey_lib.chain.evidence.base import Evidence
from survey_lib.chain.masks import masked_copy
from survey_lib.methods.depth_and_heads.scores import angular_distance, block_influence


def built(name: str, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return torchvision.models.get_model(name, num_classes=4).eval()


@pytest.fixture
def resnet() -> nn.Module:
    return built("resnet18")


IMAGE = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_block_influence_by_hand():
    before = torch.tensor([[3.0, 4.0], [1.0, 0.0]])  # two examples, two channels
    after = torch.tensor([[6.0, 8.0], [1.0, 1.0]])
    score = block_influence(Evidence("b", torch.zeros(1), act_in=before, act_out=after))
    assert score.item() == pytest.approx(1 - (1 + 0.5**0.5) / 2)


def test_cosine_runs_along_channels_at_each_position():
    x = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])  # (1, channels 2, positions 2), unit vectors
    turned = x.flip(1)
    assert block_influence(Evidence("b", torch.zeros(1), act_in=x, act_out=turned)).item() == 1.0
    assert block_influence(Evidence("b", torch.zeros(1), act_in=x, act_out=3 * x)).item() == 0.0


def test_blocks_of_resnet18_are_those_that_keep_their_shape(resnet):
    assert blocks.blocks(resnet, IMAGE) == ["layer1.0", "layer1.1", "layer2.1", "layer3.1", "layer4.1"]


def test_blocks_of_a_transformer_are_its_layers_and_not_their_parts():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
    encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False).eval()
    assert blocks.blocks(encoder, torch.randn(2, 5, 8)) == ["layers.0", "layers.1", "layers.2"]
    assert torch.backends.mha.get_fastpath_enabled()


def test_adding_positions_to_the_input_makes_no_block():
    net = torchvision.models.VisionTransformer(32, 8, 2, 4, 16, 32, num_classes=4).eval()
    assert blocks.blocks(net, IMAGE[..., :32, :32]) == [f"encoder.layers.encoder_layer_{i}" for i in range(2)]


def test_plain_networks_have_no_blocks():
    net = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU())
    assert blocks.blocks(net, IMAGE) == []


def test_masked_blocks_equal_removed_ones(resnet):
    names = ["layer1.1", "layer3.1"]
    resnet, x = resnet.double(), IMAGE.double()
    small, masked = blocks.remove(resnet, names), masked_copy(resnet, blocks.block_masks(resnet, names))
    with torch.no_grad():
        assert torch.allclose(small(x), masked(x), rtol=1e-9, atol=0)
        assert not torch.allclose(small(x), resnet(x), rtol=1e-3)
    count = lambda model: sum(p.numel() for p in model.parameters())  # noqa: E731
    gone = 2 * 64 * 64 * 9 + 4 * 64 + 2 * 256 * 256 * 9 + 4 * 256
    assert count(resnet) - count(small) == gone


def test_evidence_of_blocks_and_the_model_as_found(resnet):
    before = copy.deepcopy(resnet.state_dict())
    found = blocks.collect(resnet.train(), ["layer1.0"], [IMAGE, IMAGE])["layer1.0"]
    resnet.eval()
    with torch.no_grad():
        stem = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(IMAGE))))
        assert torch.allclose(found.act_in, torch.cat([stem, stem]), atol=1e-6)
        assert torch.allclose(found.act_out[:2], resnet.layer1[0](stem), atol=1e-6)
    assert all(torch.equal(before[name], value) for name, value in resnet.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in resnet.modules())


def test_a_block_that_does_nothing_goes_first(resnet):
    for parameter in resnet.layer2[1].parameters():
        parameter.data.zero_()
    names = blocks.blocks(resnet, IMAGE)
    scores = {name: block_influence(e).item() for name, e in blocks.collect(resnet, names, [IMAGE]).items()}
    assert min(scores, key=scores.get) == "layer2.1" and scores["layer2.1"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("method", ["block-influence"])
def test_a_block_left_out_is_no_layer_collapse(method, net):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = survey_lib.prune(net, method, 0.5, example=IMAGE, batches=[(IMAGE, torch.zeros(2).long())])
    assert (result.report["kept"] == 0).sum() == 2
    assert not [warning for warning in caught if "layer collapse" in str(warning.message)]


def test_angular_distance_by_hand():
    """Directions of 0, 60, 90 and 130 degrees: blocks turn by 60, 30 and 40, runs of two by 90 and 70."""
    angles = (math.radians(degrees) for degrees in (0, 60, 90, 130))
    turned = [torch.tensor([[math.cos(angle), math.sin(angle)]]) for angle in angles]
    found = [Evidence(str(i), turned[0], act_in=turned[i], act_out=turned[i + 1]) for i in range(3)]
    assert angular_distance(found, 1).tolist() == [True, False, True]
    assert angular_distance(found, 2).tolist() == [True, False, False]
    assert angular_distance(found, 0).all()


def test_a_run_of_blocks_does_not_cross_a_change_of_shape(resnet):
    batches = [(IMAGE, torch.zeros(2).long())]
    with pytest.raises(ValueError, match="no 3 neighbouring blocks keep their input's shape"):
        survey_lib.prune(resnet, "angular-distance", 0.6, example=IMAGE, batches=batches)
    result = survey_lib.prune(resnet, "angular-distance", 0.4, example=IMAGE, batches=batches)
    assert result.report.query("kept == 0")["layer"].tolist() == ["layer1.0", "layer1.1"]
