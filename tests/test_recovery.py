"""What brings accuracy back after a cut: batch-norm statistics estimated again, and fine-tuning."""

import pytest
import torch
import torchvision
from torch import nn

import survey_lib
from survey_lib.chain.masks import tensors


def same(one: nn.Module, other: nn.Module) -> bool:
    """Both models hold the same tensors, bit for bit."""
    ours, theirs = tensors(one), tensors(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("training", [True, False])
def test_b54_batch_norm_statistics_are_the_cumulative_average(training):
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout(0.5)).train(training)
    before = {name: tensor.clone() for name, tensor in tensors(model).items()}
    batches = [torch.randn(16, 2, 3, 3) + 5 for _ in range(4)]
    state = torch.random.get_rng_state()
    fresh = survey_lib.recalibrate(model, iter(batches))
    assert torch.allclose(fresh[0].running_mean, torch.cat(batches).mean((0, 2, 3)), atol=1e-4)
    assert torch.allclose(
        fresh[0].running_var, torch.stack([b.var((0, 2, 3)) for b in batches]).mean(0), atol=1e-4
    )
    assert fresh.training is training and fresh[0].training is training and fresh[0].momentum == 0.1
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(tensors(model)[name], before[name]) for name in before)


def test_recalibrating_a_torchvision_model_changes_nothing_but_the_statistics_its_batches_reach():
    """GoogLeNet's auxiliary heads run in training only; their statistics must not become zero and one."""
    torch.manual_seed(0)
    model = torchvision.models.googlenet(weights=None, aux_logits=True, init_weights=False).eval()
    nn.init.constant_(model.aux1.conv.bn.running_mean, 3.0)
    pairs = [(torch.randn(2, 3, 32, 32), torch.zeros(2).long())]
    fresh = survey_lib.recalibrate(model, pairs)
    ours, theirs = tensors(model), tensors(fresh)
    changed = {name for name in ours if not torch.equal(ours[name], theirs[name])}
    assert changed == {n for n in ours if ".running_" in n or n.endswith("num_batches_tracked")} - {
        n for n in ours if n.startswith("aux")
    }
    twice = survey_lib.recalibrate(fresh, pairs)
    assert same(fresh, twice)  # one batch: its statistics do not depend on those stored before


def test_a_transformer_block_without_batch_norm_comes_back_equal():
    block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    fresh = survey_lib.recalibrate(block, [torch.randn(2, 3, 8)])
    assert fresh is not block and fresh.training and same(block, fresh)


def test_b54_no_batches_is_refused_by_name():
    with pytest.raises(ValueError, match="batches is empty"):
        survey_lib.recalibrate(nn.BatchNorm1d(2), [])
