"""What brings accuracy back after a cut: batch-norm statistics estimated again, and fine-tuning."""

import copy

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.distributions import Categorical, kl_divergence

import survey_lib
from survey_lib.chain.masks import tensors
from survey_lib.chain.training.recovery import distillation


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
    with pytest.raises(ValueError, match="got list of"):
        survey_lib.recalibrate(nn.BatchNorm1d(2), [])


def classes(count: int = 64) -> list:
    """Batches of two clouds of points, apart by four standard deviations."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(count) % 2
    x = torch.randn(count, 4, generator=generator) + 4 * y[:, None]
    return list(zip(x.split(16), y.split(16), strict=True))


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))


def test_finetuning_learns_in_a_copy_that_keeps_masks_and_modes():
    model, batches = network(), classes()
    model[1].eval()
    result = survey_lib.prune(model, "magnitude", 0.5)
    done = survey_lib.finetune(result.model, batches, epochs=20, lr=0.1, masks=result.masks)
    assert torch.cat([done(x).argmax(1) == y for x, y in batches]).all()
    assert done.training and not done[1].training and same(model, network())
    for name, mask in result.masks.items():
        assert torch.equal(tensors(done)[name] != 0, mask)


def test_one_step_of_distillation_against_numpy():
    """One linear layer, one step at lr/25 (the start of the cycle) without momentum's past: w − η (1.9) (∇ + λw)."""
    torch.manual_seed(0)
    student, teacher = nn.Linear(3, 4, bias=False), nn.Linear(3, 4)
    x, y, lr, temperature, weight = torch.randn(6, 3), torch.tensor([0, 1, 2, 3, 0, 1]), 0.5, 4.0, 0.9
    done = survey_lib.finetune(student, [(x, y)], epochs=1, lr=lr, teacher=teacher)
    inputs, w = x.double().numpy(), student.weight.detach().double().numpy()
    target = inputs @ teacher.weight.detach().double().numpy().T + teacher.bias.detach().double().numpy()

    def softmax(z):
        return np.exp(z) / np.exp(z).sum(1, keepdims=True)

    z = inputs @ w.T
    hard = (softmax(z) - np.eye(4)[y]) / 6  # d cross-entropy / dz
    soft = temperature * (softmax(z / temperature) - softmax(target / temperature)) / 6  # d T² KL / dz
    gradient = ((1 - weight) * hard + weight * soft).T @ inputs + 5e-4 * w
    expected = w - lr / 25 * 1.9 * gradient  # Nesterov: g + 0.9 g in the first step
    assert np.allclose(done.weight.detach().numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_distillation_is_t_squared_times_the_kl_divergence(temperature):
    """Two examples, five classes, three positions; the oracle is torch.distributions."""
    student, teacher = torch.randn(2, 2, 5, 3, generator=torch.Generator().manual_seed(0)).double()
    p, q = (Categorical(logits=z.movedim(1, -1) / temperature) for z in (teacher, student))
    expected = temperature**2 * kl_divergence(p, q).mean()
    assert distillation(student, teacher, temperature).item() == pytest.approx(expected.item())


def test_a_language_model_learns_as_if_its_classes_stood_on_axis_1():
    """Scores (n, length, classes) of a model and (n, classes, length) of the same model, with and without teacher."""

    class Model(nn.Module):
        def __init__(self, turned):
            super().__init__()
            self.layer, self.turned = nn.Linear(2, 5, bias=False), turned
            self.layer.weight.data = torch.linspace(-1, 1, 10).view(5, 2)

        def forward(self, x):
            return self.layer(x).mT if self.turned else self.layer(x)

    generator = torch.Generator().manual_seed(0)
    batches = [(torch.randn(4, 3, 2, generator=generator), torch.randint(5, (4, 3), generator=generator))] * 3
    for wishes in ({}, {"teacher": Model(False)}):
        last = survey_lib.finetune(Model(False), batches, epochs=1, **wishes)
        wishes = {"teacher": Model(True)} if wishes else {}
        first = survey_lib.finetune(Model(True), batches, epochs=1, **wishes)
        assert torch.allclose(last.layer.weight, first.layer.weight)
    square = [(torch.zeros(4, 5, 2), torch.zeros(4, 5).long())]
    with pytest.raises(ValueError, match="as many classes as positions"):
        survey_lib.finetune(Model(False), square, epochs=1)


def test_the_teacher_is_not_changed_and_pulls_the_student_towards_it():
    teacher, student, batches = network(), network(), classes()
    nn.init.normal_(student[3].weight)
    done = survey_lib.finetune(student, batches, epochs=30, lr=0.05, teacher=teacher)
    assert same(teacher, network()) and teacher.training
    x = batches[0][0]

    def gap(model):
        p, q = (Categorical(logits=copy.deepcopy(net).eval()(x)) for net in (teacher, model))
        return kl_divergence(p, q).mean().item()

    assert gap(done) < 0.1 * gap(student)


def test_a_dataloader_and_a_torchvision_model_that_returns_several_outputs():
    """GoogLeNet in train mode returns (logits, aux_logits2, aux_logits1): the loss reads `logits`."""
    torch.manual_seed(0)
    model = torchvision.models.googlenet(weights=None, num_classes=2, aux_logits=True, init_weights=False)
    data = torch.utils.data.TensorDataset(torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 0, 1]))
    loader = torch.utils.data.DataLoader(data, batch_size=4, shuffle=True)
    done = survey_lib.finetune(model, loader, epochs=1, lr=0.01)
    assert not torch.equal(done.fc.weight, model.fc.weight)


def test_a_transformer_block_learns_with_a_loss_of_its_own():
    torch.manual_seed(0)
    block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    batches = [(torch.randn(4, 3, 8), torch.zeros(4, 3, 8))]
    error = nn.functional.mse_loss
    done = survey_lib.finetune(block, batches, epochs=30, lr=0.02, loss=error)
    assert error(done(batches[0][0]), batches[0][1]) < 0.5 * error(block(batches[0][0]), batches[0][1])


@pytest.mark.parametrize(
    "batches, wishes, message",
    [
        ([], {}, r"got list of \(\)"),
        (iter(classes()), {}, "after one epoch"),
        ([torch.ones(2, 4)], {}, "pair"),
        (classes(), {"epochs": 0}, "epochs must be at least 1"),
        (classes(), {"lr": -1.0}, "lr=-1.0"),
        (classes(), {"masks": {"9.weight": torch.ones(1).bool()}}, "9.weight"),
        (classes(), {"teacher": nn.Linear(4, 3)}, r"\(16, 3\), the model's \(16, 2\)"),
    ],
)
def test_wrong_wishes_are_named(batches, wishes, message):
    with pytest.raises(ValueError, match=message):
        survey_lib.finetune(network(), batches, **({"epochs": 1} | wishes))


def test_a_frozen_model_is_refused():
    with pytest.raises(ValueError, match="frozen"):
        survey_lib.finetune(network().requires_grad_(False), classes(), epochs=1)


def test_zeros_that_would_grow_back_are_warned_about():
    result = survey_lib.prune(network(), "magnitude", 0.5)
    with pytest.warns(UserWarning, match=r"0.weight is .*% exact zeros.*masks=result.masks"):
        survey_lib.finetune(result.model, classes(), epochs=1)
