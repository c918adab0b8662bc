"""Training around masks goes on after a checkpoint, with scaled gradients and with gradients that are not finite.

Cases B76 to B79; each with the instance reported and others of its kind. B77 for every method is rule 13.
"""

import io

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from survey_lib import METHODS, during, finetune, hold, prune
from survey_lib.chain.masks import overall_sparsity

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
PLAIN = [n for n, row in METHODS.items() if row.during and row.category in ("weight", "pattern")]
STEPS, X = 32, torch.zeros(2, 4, 4, 4)


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(4, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 4, 3, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16, 4),
        )


def optimizers(model: nn.Module, **wishes) -> dict[str, torch.optim.Optimizer]:
    return {
        "sgd": torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=0.01, **wishes),
        "adamw": torch.optim.AdamW(model.parameters(), 0.01, weight_decay=0.1, **wishes),
    }


def begin(method: str, optimizer: str = "sgd", seed: int = 0, sparsity: float = 0.5, **wishes):
    model = network(seed)
    chosen = optimizers(model, **wishes)[optimizer]
    return model, chosen, during(model, method, sparsity, chosen, STEPS, example=X)


def loss(model: nn.Module, index: int) -> torch.Tensor:
    x = torch.randn(8, 4, 4, 4, generator=torch.Generator().manual_seed(index))
    return F.cross_entropy(model(x), x.mean((2, 3)).argmax(1))


def step(model: nn.Module, optimizer: torch.optim.Optimizer, index: int) -> None:
    optimizer.zero_grad()
    loss(model, index).backward()
    optimizer.step()


def stored(value):
    """As it comes back from a file, read without pickled code."""
    file = io.BytesIO()
    torch.save(value, file)
    return torch.load(io.BytesIO(file.getvalue()), weights_only=True)


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_b77_the_state_is_a_copy_that_training_does_not_change():
    model, optimizer, session = begin("movement")
    state = session.state_dict()
    before = stored(state)
    step(model, optimizer, 0)
    assert same(state["rule"]["dense"], before["rule"]["dense"]) and same(state["weights"], before["weights"])


@pytest.mark.parametrize("wishes", [{"steps": 9}, {"sparsity": 0.7}, {"seed": 1}, {"method": "movement"}])
def test_b77_a_state_of_another_session_is_refused(wishes):
    model, optimizer, session = begin("gradual")
    model, optimizer, other = begin("gradual")
    other.finish()
    arguments = {"method": "gradual", "sparsity": 0.5, "optimizer": optimizer, "steps": STEPS} | wishes
    with pytest.raises(ValueError, match="the state is of another session"):
        during(model, **arguments).load_state_dict(session.state_dict())


def scaled(method: str, optimizer: str, fused: bool, overflow: int = -1):
    """Trained with a gradient scaler; at step `overflow` the scale is too large."""
    model, chosen, session = begin(method, optimizer, sparsity=0.9 if method in PLAIN else 0.5, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16, growth_interval=1000)
    for index in range(STEPS):
        chosen.zero_grad()
        scaler.scale(loss(model, index) * (float("inf") if index == overflow else 1)).backward()
        scaler.step(chosen)
        scaler.update()
    return model, session


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("method", ["slimming", "rigl", "movement", "l0", "group-lasso"])
def test_b76_fused_optimizers_with_a_gradient_scaler_do_what_others_do(method, optimizer):
    (plain, first), (fused, second) = (scaled(method, optimizer, fused) for fused in (False, True))
    for one, other in zip(plain.parameters(), fused.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-5)
    assert same(first.masks, second.masks)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("method", ["rigl", "gradual", "str"])
def test_b76_an_overflow_step_is_no_step(method, fused):
    model, session = scaled(method, "sgd", fused, overflow=4)
    assert session.step == STEPS - 1
    assert overall_sparsity(session.finish()) == pytest.approx(0.9, abs=1e-9)
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_b78_held_weights_stay_zero_whatever_their_gradient(bad):
    layer = nn.Linear(2, 1, bias=False)
    optimizer = torch.optim.SGD(layer.parameters(), 0.1, momentum=0.9)
    hold(layer, {"weight": torch.tensor([[True, False]])}, optimizer)
    for _ in range(2):
        layer.weight.grad = torch.tensor([[1.0, bad]])
        optimizer.step()
    assert layer.weight[0, 1] == 0 and layer.weight[0, 0].isfinite()


@pytest.mark.parametrize("method", PLAIN)
def test_b78_gradients_that_are_not_finite_never_reach_masked_weights(method):
    model, optimizer, session = begin(method)
    for index in range(STEPS):
        optimizer.zero_grad()
        loss(model, index).backward()
        for name, mask in session.masks.items():
            model.get_parameter(name).grad[~mask] = float("nan")
        optimizer.step()
        assert all(parameter.isfinite().all() for parameter in model.parameters())
    session.finish()
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_b78_a_penalty_with_an_infinite_slope_at_zero_is_harmless():
    model = nn.Sequential(nn.Linear(4, 4))
    result = prune(model, "magnitude", 0.5)

    def penalised(output, target):
        return output.square().mean() + 0.01 * sum(p.abs().sqrt().sum() for p in small.parameters())

    small = result.model
    optimizer = torch.optim.SGD(small.parameters(), 0.01)
    hold(small, result.masks, optimizer)
    penalised(small(torch.ones(2, 4)), None).backward()
    optimizer.step()
    assert all(parameter.isfinite().all() for parameter in small.parameters())


def elsewhere(model: nn.Module) -> list[nn.Parameter]:
    return list(network(seed=2).parameters())


WRONG = {
    "another model": elsewhere,
    "the model before it was copied": lambda model: [
        nn.Parameter(p.detach().clone()) for p in model.parameters()
    ],
    "biases alone": lambda model: [p for name, p in model.named_parameters() if name.endswith("bias")],
}


@pytest.mark.parametrize("parameters", WRONG)
def test_b79_an_optimizer_of_other_weights_is_refused(parameters):
    model = network()
    result = prune(model, "magnitude", 0.5)
    optimizer = torch.optim.SGD(WRONG[parameters](result.model), 0.1)
    with pytest.raises(ValueError, match="the optimizer trains none of the model's pruned weights"):
        hold(result.model, result.masks, optimizer)
    with pytest.raises(ValueError, match="the optimizer trains none of the model's pruned weights"):
        during(model, "gradual", 0.5, optimizer, STEPS)


def test_finetuning_holds_masks_through_gradients_that_are_not_finite():
    model = nn.Sequential(nn.Linear(4, 4))
    result = prune(model, "magnitude", 0.5)
    batches = [(torch.randn(4, 4), torch.arange(4))]
    trained = finetune(result.model, batches, epochs=2, masks=result.masks)
    assert not trained[0].weight[~result.masks["0.weight"]].any()
