"""The training loop and its metrics: hand-computed values, oracles, equal bits for equal seeds."""

import copy
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss, recall_score
from torch import nn

from survey_lib.chain.training import descent
from survey_lib.experiment.data.loaders import Data
from survey_lib.experiment.runs import train


@pytest.fixture
def data():
    """Two classes of 1x4x4 images that differ in brightness; 50 do not divide by 16."""
    generator = torch.Generator().manual_seed(0)

    def split(count):
        y = torch.arange(count) % 2
        return torch.randn(count, 1, 4, 4, generator=generator) + 2.0 * y.view(-1, 1, 1, 1), y

    return Data("two", split(50), split(30), split(30), ("dark", "bright"), (0.0,), (1.0,), flips=(3,))


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))


def trained(data, **choices):
    model = network()
    curve = train.fit(model, data, **{"epochs": 3, "lr": 0.05, "batch_size": 16} | choices)
    return model, curve


def same(left, right):
    return all(
        torch.equal(a, b)
        for a, b in zip(left.state_dict().values(), right.state_dict().values(), strict=True)
    )


def test_training_learns_and_reports_each_epoch(data):
    model, curve = trained(data)
    assert [point["epoch"] for point in curve] == [1, 2, 3]
    assert curve[-1]["validation_accuracy"] > 0.9 and curve[-1]["loss"] < curve[0]["loss"]
    assert curve[-1]["validation_accuracy"] == train.evaluate(model, data.validation)["accuracy"]


def test_b55_equal_seeds_give_equal_bits_whatever_ran_before(data):
    first, curve = trained(data)
    torch.manual_seed(123)
    torch.rand(7)
    state = torch.random.get_rng_state()
    second, again = trained(data)
    assert same(first, second) and curve == again
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not same(first, trained(data, seed=1)[0])


@pytest.mark.parametrize("optimizer", descent.OPTIMIZERS)
def test_masked_weights_stay_zero(optimizer, data):
    mask = torch.arange(36).view(4, 1, 3, 3) % 2 == 0
    model, _ = trained(data, optimizer=optimizer, masks={"0.weight": mask})
    assert not model[0].weight[~mask].any() and model[0].weight[mask].all()


def test_rewinding_goes_over_the_same_batches_and_learning_rates(data):
    model, kept = network(), {}
    whole = train.fit(model, data, epochs=4, lr=0.05, batch_size=16, on_epoch=kept.setdefault)
    rest = train.fit(model, data, epochs=4, lr=0.05, batch_size=16, first_epoch=2)
    assert sorted(kept) == [1, 2, 3, 4]
    assert [point["lr"] for point in rest] == [point["lr"] for point in whole[2:]]
    seen = [torch.cat([y for _, y in train.batches(data, 16, seed)]).tolist() for seed in (2, 2, 3)]
    assert seen[0] == seen[1] != seen[2] and sorted(seen[0]) == sorted(data.train[1].tolist())


def test_a_session_sees_the_optimizer_before_the_first_step(data):
    steps = []
    trained(
        data,
        epochs=1,
        session=lambda optimizer: optimizer.register_step_post_hook(lambda *_: steps.append(1)),
    )
    assert len(steps) == math.ceil(50 / 16)


def test_a_loss_that_is_not_finite_stops_with_epoch_and_advice(data):
    with pytest.raises(FloatingPointError, match=r"epoch 1, step \d+.*lower lr"):
        trained(data, lr=1e30, lr_schedule="constant")


def test_the_test_set_joins_the_curve_without_changing_the_training(data):
    (plain, curve), (followed, longer) = trained(data), trained(data, test=data.test)
    assert same(plain, followed)
    assert [point.pop("test_accuracy") for point in longer][-1] == train.evaluate(followed, data.test)[
        "accuracy"
    ]
    assert longer == curve


def test_an_unknown_optimizer_lists_the_known_ones(data):
    with pytest.raises(ValueError, match="sgd, heavy-ball, adam, adamw"):
        trained(data, optimizer="adan")


def test_one_cycle_is_torchs_own():
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    oracle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=2001, cycle_momentum=False)
    for step in range(2001):
        expected = optimizer.param_groups[0]["lr"] / 0.1
        assert descent.lr_factor("one-cycle", step / 2000) == pytest.approx(expected, abs=2e-3)
        optimizer.step()
        if step < 2000:
            oracle.step()


@pytest.mark.parametrize(
    "schedule, values",
    [
        ("constant", [1, 1, 1]),
        ("cosine", [1, 0.5, 0]),
        ("step", [1, 0.1, 0.01]),
        ("one-cycle", [0.04, 0.8117, 0]),
    ],
)
def test_schedules_at_start_middle_and_end(schedule, values):
    assert [descent.lr_factor(schedule, p) for p in (0, 0.5, 1)] == pytest.approx(values, abs=1e-4)


def test_metrics_are_those_of_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    scores, y = torch.randn(57, 3, generator=generator), torch.randint(0, 3, (57,), generator=generator)
    metrics, predicted = train.score_metrics(scores, y, reference=y), scores.argmax(1)
    assert metrics["accuracy"] == pytest.approx(accuracy_score(y, predicted))
    assert metrics["agreement"] == metrics["accuracy"]
    assert metrics["loss"] == pytest.approx(log_loss(y, scores.double().softmax(1)))
    assert metrics["per_class_accuracy"] == pytest.approx(list(recall_score(y, predicted, average=None)))


def test_a_class_without_examples_has_no_accuracy():
    metrics = train.score_metrics(torch.eye(3)[:2], torch.tensor([0, 1]))
    assert metrics["per_class_accuracy"] == [1.0, 1.0, None]


def test_calibration_error_by_hand():
    confidence = torch.tensor([0.95, 0.95, 0.55, 1.0])  # bins of 1/15: {0.95, 0.95, 1.0}, {0.55}
    correct = torch.tensor([1.0, 0.0, 1.0, 1.0])
    expected = (abs(2.0 - 2.9) + abs(1.0 - 0.55)) / 4
    assert train.calibration_error(confidence, correct) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("batch_size", [7, 30, 64])
def test_evaluation_counts_examples_and_not_batches(batch_size, data):
    model = network().eval()
    x, y = data.test
    scores = torch.cat([model(image[None]) for image in x])
    assert torch.allclose(train.predict(model, x, batch_size), scores, atol=1e-6)
    assert train.evaluate(model, data.test)["accuracy"] == np.mean((scores.argmax(1) == y).numpy())


def test_evaluation_leaves_the_mode_of_every_module_as_found(data):
    model = network().train()
    model[1].eval()
    before = copy.deepcopy(model.state_dict())
    train.evaluate(model, data.test)
    assert model.training and model[0].training and not model[1].training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
