"""Weight methods: hand-computed scores and the oracle of each."""

import copy
import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune as torch_prune

from survey_lib import prune
from survey_lib.catalogue import METHODS, find
from survey_lib.chain.evidence.base import Evidence, collect
from survey_lib.chain.masks import apply, prunable
from survey_lib.chain.selection import round_sparsities, select
from survey_lib.methods.weight import scores as weight
from survey_lib.methods.weight import solve
from survey_lib.methods.weight.solve import damped, least_squares

TINY = torch.finfo(torch.float64).tiny


def evidence(*rows, **observed) -> Evidence:
    return Evidence(
        "w", torch.tensor(rows), **{name: torch.tensor(value) for name, value in observed.items()}
    )


def masks_of(model, method, sparsity, batches=None, example=None):
    row = find(method)
    found = collect(model, list(prunable(model)), row.needs, batches, example=example)
    return select({name: row.score(e) for name, e in found.items()}, sparsity, row.scope)


# magnitude and random


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.93])
def test_magnitude_equals_torch_layerwise_and_globally(net, sparsity):
    weights = {
        name: module for name, module in net.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)
    }
    for scope in ("layerwise", "global"):
        pruned = copy.deepcopy(net)
        layers = [(pruned.get_submodule(name), "weight") for name in weights]
        if scope == "global":
            torch_prune.global_unstructured(layers, torch_prune.L1Unstructured, amount=sparsity)
        else:
            for layer, _ in layers:
                torch_prune.l1_unstructured(layer, "weight", sparsity)
        found = collect(net, [f"{name}.weight" for name in weights])
        masks = select({name: weight.magnitude(e) for name, e in found.items()}, sparsity, scope)
        for name in weights:
            assert torch.equal(masks[f"{name}.weight"], pruned.get_submodule(name).weight_mask.bool())


def test_b01_magnitude_removes_exactly_what_is_asked_on_ties():
    first = weight.magnitude(evidence([0.0, 0.0, 1.0, -1.0, 2.0, -2.0]))
    assert select({"w": first}, 0.5)["w"].tolist() == [[False, False, False, True, True, True]]
    flat = {name: weight.magnitude(Evidence(name, torch.ones(4, 4))) for name in "ab"}
    assert [int(m.sum()) for m in select(flat, 0.25).values()] == [12, 12]
    assert sum(int(m.sum()) for m in select(flat, 0.5, "global").values()) == 16


def test_b55_random_masks_repeat_with_the_seed_and_differ_between_layers(net):
    def masks(seed):
        found = collect(net, ["conv1.weight", "conv2.weight"], seed=seed)
        return select({name: weight.random(e) for name, e in found.items()}, 0.5)

    state = torch.random.get_rng_state()
    first, again, other = masks(0), masks(0), masks(1)
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(first["conv1.weight"], again["conv1.weight"])
    assert not torch.equal(first["conv1.weight"], first["conv2.weight"])
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


def test_b46_scores_do_not_depend_on_memory_format_or_dtype():
    layer = nn.Conv2d(4, 6, 3)
    layer.weight.data = layer.weight.data.bfloat16().float()  # so that every dtype holds the same values
    expected = select({"w": weight.magnitude(collect(layer, ["weight"])["weight"])}, 0.5)["w"]
    for change in (
        {"memory_format": torch.channels_last},
        *({"dtype": d} for d in (torch.float64, torch.bfloat16)),
    ):
        changed = copy.deepcopy(layer).to(**change)
        found = collect(changed, ["weight"])["weight"]
        assert torch.equal(select({"w": weight.magnitude(found)}, 0.5)["w"], expected)
        assert found.weight.dtype == changed.weight.dtype


# scores from gradients


def test_lamp_by_hand_and_that_every_layer_keeps_its_largest():
    # squares 9, 1, 4: 1/14, 4/13, 9/9
    score = weight.lamp(evidence([3.0, -1.0, 2.0]))
    assert torch.allclose(score, torch.tensor([[1.0, 1 / 14, 4 / 13]], dtype=torch.float64))
    small, large = 1e-4 * torch.randn(4, 4), torch.randn(4, 4)
    masks = select(
        {n: weight.lamp(Evidence(n, w)) for n, w in {"s": small, "l": large}.items()}, 15 / 16, "global"
    )
    assert masks["s"].any() and masks["l"].any()
    assert not weight.lamp(Evidence("w", torch.zeros(2, 2))).any()


@given(st.lists(st.floats(-4, 4, width=16), min_size=1, max_size=12))
def test_lamp_is_the_formula_where_magnitudes_differ(values):
    values = torch.tensor(list({abs(v): v for v in values}.values()), dtype=torch.float64)[None]
    square = values.square().flatten()
    expected = [u / max(sum(v for v in square if v >= u), TINY) for u in square]
    assert weight.lamp(Evidence("w", values)).flatten().tolist() == pytest.approx(
        [float(e) for e in expected]
    )


def test_taylor_squares_each_mini_batch_before_the_mean():
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.data = torch.tensor([[2.0, 1.0]])
    x = torch.tensor([[1.0, 0.0]])
    found = collect(layer, ["weight"], ("grad_sq",), [(x, 1.0), (x, -1.0)], lambda o, y: (y * o).sum())[
        "weight"
    ]
    assert weight.taylor(found).tolist() == [[4.0, 0.0]]  # the mean gradient is zero


def test_obd_against_the_exact_hessian_of_a_tiny_net():
    """Targets drawn from the model itself make the Fisher equal the Hessian of a linear softmax model."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    layer = nn.Linear(3, 4, bias=False).double()
    probability = layer(x).softmax(1).detach()
    # every class of every example once, in a batch of its own, weighted by its probability
    batches = [(x[i : i + 1], torch.tensor([c])) for i in range(6) for c in range(4)]
    weights = iter(probability.flatten().sqrt())
    found = collect(
        layer, ["weight"], ("example_grad_sq",), batches, lambda o, y: next(weights) * F.cross_entropy(o, y)
    )["weight"]

    def loss(w):
        return -(probability * (x @ w.T).log_softmax(1)).sum() / 24

    exact = torch.func.hessian(loss)(layer.weight.detach()).reshape(12, 12).diagonal().view(4, 3)
    assert torch.allclose(weight.obd(found), 0.5 * exact * layer.weight.detach() ** 2, rtol=1e-9)


def test_snip_takes_the_magnitude_of_gradient_times_weight():
    assert weight.snip(evidence([2.0, -3.0], grad=[[-0.5, 0.1]])).tolist() == [[1.0, pytest.approx(0.3)]]


@pytest.mark.parametrize(("method", "kept"), [("snip", 2), ("iter-snip", 2), ("force", 0)])
def test_a_weight_the_loss_needs_only_once_it_is_gone_returns_under_force_alone(method, kept, monkeypatch):
    # loss ½ Σ (w·x − t)², x = (3,0,0), (0,1,0), (0,0,1), t = (3, 0, −1), w = (1, 1, 1): g = (0, 1, 2), so w₁ goes
    # first; without it g = (−9, 1, 2), and of three scores 9, 1, 2 the first is the largest
    monkeypatch.setitem(METHODS, method, dataclasses.replace(METHODS[method], rounds=2))
    layer = nn.Linear(3, 1, bias=False)
    layer.weight.data.fill_(1.0)
    batch = torch.diag(torch.tensor([3.0, 1.0, 1.0])), torch.tensor([[3.0], [0.0], [-1.0]])
    result = prune(layer, method, 2 / 3, batches=[batch], loss=lambda o, t: 0.5 * (o - t).square().sum())
    assert result.masks["weight"].flatten().nonzero().tolist() == [[kept]]
    assert result.model.weight[0, kept] == 1 and result.model.weight.sum() == 1  # with its original value


def test_grasp_keeps_what_the_gradient_norm_needs():
    """½‖∇L‖² falls by w·(H g) to first order when w is removed, so the largest w·(H g) must stay."""
    torch.manual_seed(0)
    model, x, y = nn.Linear(3, 3, bias=False).double(), torch.randn(8, 3).double(), torch.arange(8) % 3
    found = collect(model, ["weight"], ("hess_grad",), [(x, y)], F.cross_entropy)["weight"]

    def half_norm(w):
        gradient = torch.func.grad(lambda v: F.cross_entropy(x @ v.T, y))(w)
        return 0.5 * gradient.square().sum()

    step, w = 1e-6, model.weight.detach()
    for index in range(9):
        shrunk = w.clone()
        shrunk.view(-1)[index] *= 1 - step
        change = float(half_norm(shrunk) - half_norm(w)) / step
        assert change == pytest.approx(-float(weight.grasp(found).flatten()[index]), rel=1e-4, abs=1e-9)


def test_synflow_conserves_the_flow_of_every_layer_without_biases():
    model = nn.Sequential(
        nn.Linear(4, 6, bias=False),
        nn.ReLU(),
        nn.Linear(6, 5, bias=False),
        nn.ReLU(),
        nn.Linear(5, 3, bias=False),
    )
    found = collect(model, list(prunable(model)), ("flow",), example=torch.randn(2, 4))
    scores = [weight.synflow(e) for e in found.values()]
    total = torch.ones(1, 4, dtype=torch.float64)
    for layer in (model[0], model[2], model[4]):
        total = total @ layer.weight.detach().double().abs().T
    assert torch.allclose(torch.stack([s.sum() for s in scores]), total.sum().expand(3), rtol=1e-12)
    # what flows into a unit flows out of it
    assert torch.allclose(scores[0].sum(1), scores[1].sum(0), rtol=1e-12)


def test_synflow_keeps_every_layer_where_snip_and_magnitude_empty_one():
    torch.manual_seed(0)
    model = nn.Sequential(*[layer for _ in range(6) for layer in (nn.Linear(20, 20, bias=False), nn.ReLU())])
    model[4].weight.data.mul_(1e-3)
    sparsity, row = 0.98, find("synflow")
    assert not prune(model, "magnitude", sparsity, scope="global").masks["4.weight"].any()
    masks = {}
    for target in round_sparsities(sparsity, row.rounds):
        found = collect(model, list(prunable(model)), row.needs, example=torch.ones(1, 20))
        masks = select({n: row.score(e) for n, e in found.items()}, target, row.scope)
        apply(model, masks)
    assert all(mask.any() for mask in masks.values())
    assert model.double()(torch.ones(1, 20).double()).isfinite().all()


def test_imp_removes_at_most_a_fifth_of_what_is_left_each_round():
    row = METHODS["imp"]
    kept = [1.0, *(1 - s for s in round_sparsities(1 - 0.8**4, row.rounds))]
    assert [b / a for a, b in zip(kept, kept[1:], strict=False)] == pytest.approx([0.8] * 4)
    rounds = round_sparsities(0.5, row.rounds)
    assert len(rounds) == 4 and rounds[-1] == 0.5


# tied weights


class Tied(nn.Module):
    """Tokens to logits, the head's weight an embedding's; two linear layers share theirs."""

    def __init__(self):
        super().__init__()
        self.embedding, self.inner, self.again = nn.Embedding(12, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.head = nn.Linear(8, 12, bias=False)
        self.head.weight, self.again.weight = self.embedding.weight, self.inner.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.again(self.inner(self.embedding(tokens)).relu()))


@pytest.mark.parametrize("method", ["magnitude", "wanda", "owl", "sparsegpt", "obs", "sparsegpt:2:4"])
def test_a_head_tied_to_an_embedding_stays_dense_unless_it_is_named(method):
    torch.manual_seed(0)
    model, tokens = Tied(), [torch.randint(12, (4, 6))]
    result = prune(model, method, 0.5, batches=tokens)
    assert list(result.masks) == ["inner.weight"] and result.sparsity == 0.5
    assert dict(result.skipped)["head"].startswith("its weight is also an embedding")
    assert (
        result.model.again.weight is result.model.inner.weight
        and not result.model.inner.weight[~result.masks["inner.weight"]].any()
    )
    assert torch.equal(result.model.head.weight, model.head.weight)
    named = prune(model, method, 0.5, batches=tokens, layers=["head"])
    assert list(named.masks) == ["head.weight"] and named.model.embedding.weight is named.model.head.weight
    assert not named.model.embedding.weight[~named.masks["head.weight"]].any()


# scores from inputs


def test_wanda_removes_the_same_share_of_every_row():
    found = collect(nn.Linear(8, 5), ["weight"], ("act_norm",), [torch.randn(16, 8)])
    score = weight.wanda(found["weight"])
    assert torch.allclose(score, found["weight"].weight.abs() * found["weight"].act_norm)
    assert select({"w": score}, 0.5, "row")["w"].sum(1).tolist() == [4] * 5


def test_ria_by_hand_and_on_kernels():
    # inputs sum to 4, 4 and outputs to 3, 5; norms 9 and 4: (1/4 + 1/3) · 3, (2/4 + 2/3) · 2, (3/4 + 3/5) · 3, …
    score = weight.ria(evidence([1.0, -2.0], [-3.0, 2.0], act_norm=[9.0, 4.0]))
    assert torch.allclose(score, torch.tensor([[7 / 4, 7 / 3], [81 / 20, 9 / 5]]))
    kernel, norm = torch.randn(5, 3, 2, 2), torch.rand(3, 2, 2)
    flat = weight.ria(Evidence("w", kernel.flatten(1), act_norm=norm.flatten()))
    assert torch.allclose(weight.ria(Evidence("w", kernel, act_norm=norm)).flatten(1), flat)
    assert not weight.ria(evidence([0.0, 0.0], act_norm=[1.0, 1.0])).any()


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 9), st.floats(0, 0.99))
def test_rows_lose_equally_and_the_total_is_exact(rows, columns, sparsity):
    mask = select({"w": torch.ones(rows, columns)}, sparsity, "row")["w"]
    left = mask.sum(1)
    assert int((~mask).sum()) == round(sparsity * rows * columns) and left.max() - left.min() <= 1
    assert all(row.tolist() == sorted(row.tolist()) for row in mask)  # the lowest index goes first


def outlying(outliers: int, size: int = 100) -> Tensor:
    values = torch.ones(1, size)
    values[0, :outliers] = 1000.0
    return values


def owl_of(sparsity: float, **layers: Tensor) -> dict[str, float]:
    found = {n.replace("_", "."): w for n, w in layers.items()}
    return weight.owl(
        {n: Evidence(n, w, act_norm=torch.ones(w.shape[1])) for n, w in found.items()}, sparsity
    )


def test_owl_by_hand_blocks_share_a_ratio_and_the_total_is_exact():
    # blocks m.0 (two layers of 100, outliers 2 % of 200) and m.1 (100, 8 %): shares .02 and .08, mean .04
    shares = owl_of(0.7, m_0_a=outlying(1), m_0_b=outlying(3), m_1_a=outlying(8))
    assert shares == pytest.approx(
        {"m.0.a": 0.7 + 0.16 / 3, "m.0.b": 0.7 + 0.16 / 3, "m.1.a": 0.7 - 0.32 / 3}
    )
    assert sum(shares.values()) / 3 == pytest.approx(0.7)


@pytest.mark.parametrize("sparsity", [0.0, 0.01, 0.5, 0.99])
def test_owl_stays_within_its_bounds(sparsity):
    shares = owl_of(sparsity, a_0=outlying(0), b_0=outlying(9))
    assert all(0 <= share <= 1 for share in shares.values())
    assert sum(shares.values()) / 2 == pytest.approx(sparsity)


# solvers


def problem(rows: int, inputs: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(inputs, 60, generator=generator, dtype=torch.float64)
    mixed = torch.randn(inputs, inputs, generator=generator, dtype=torch.float64) @ x
    matrix = torch.randn(rows, inputs, generator=generator, dtype=torch.float64)
    return Evidence("w", matrix, gram=mixed @ mixed.T)


def error(evidence: Evidence, solved: Tensor) -> float:
    hessian = damped(evidence.gram)[0]
    change = evidence.weight.double() - solved.double()
    return float((change @ hessian * change).sum())


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 6), st.integers(0, 1000))
def test_obs_removes_the_one_weight_that_brute_force_removes(inputs, seed):
    found = problem(1, inputs, seed)
    mask, solved = solve.obs(found, 1 / inputs)
    hessian = damped(found.gram)[0]
    singles = [~F.one_hot(torch.tensor(i), inputs).bool() for i in range(inputs)]
    losses = [error(found, least_squares(found.weight, hessian, keep)) for keep in singles]
    best = min(zip(losses, range(inputs), strict=True))
    assert (~mask).nonzero().tolist() == [[0, best[1]]]
    assert error(found, solved) == pytest.approx(best[0], rel=1e-6)


def test_obs_loss_of_one_removal_is_the_closed_form():
    found = problem(1, 5)
    mask, solved = solve.obs(found, 0.2)
    inverse = damped(found.gram)[0].inverse()
    saliency = found.weight[0].square() / inverse.diagonal()
    assert error(found, solved) == pytest.approx(float(saliency.min()), rel=1e-6)
    gone = int(saliency.argmin())
    update = found.weight[0] - found.weight[0, gone] / inverse[gone, gone] * inverse[gone]
    assert torch.allclose(solved[0], update.where(mask[0], 0.0), rtol=1e-6)


def test_obs_rows_share_the_layers_count_by_their_losses():
    found = problem(2, 6)
    found.weight[1] *= 1e-3
    mask, _ = solve.obs(found, 0.5)
    assert mask.sum(1).tolist() == [6, 0]


def fisher_problem():
    """A trained-like linear layer of 7 · 9 weights, so two blocks of 50, and 40 examples."""
    torch.manual_seed(0)
    layer, x = nn.Linear(9, 7, bias=False).double(), torch.randn(40, 9, dtype=torch.float64)
    batches = list(zip(x.split(16), layer(x).argmax(1).split(16), strict=True))
    return layer, batches, collect(layer, ["weight"], ("fisher",), batches)["weight"]


def test_woodfisher_is_the_papers_recursion_by_woodburys_identity(monkeypatch):
    monkeypatch.setattr(solve, "FISHER_DAMPING", 1e-3)
    layer, batches, found = fisher_problem()
    inverses = [torch.eye(size, dtype=torch.float64) / 1e-3 for size in (50, 13)]
    for x, y in zip(*(torch.cat(part) for part in zip(*batches, strict=True)), strict=True):
        gradient = torch.autograd.grad(F.cross_entropy(layer(x[None]), y[None]), layer.weight)[0].flatten()
        for block, part in enumerate(gradient.split(50)):
            moved = inverses[block] @ part
            inverses[block] = inverses[block] - torch.outer(moved, moved) / (40 + part @ moved)
    pivots = torch.cat([inverse.diagonal() for inverse in inverses]).view(7, 9)
    assert torch.allclose(weight_score := solve.woodfisher(found), found.weight**2 / (2 * pivots), rtol=1e-9)
    # the update of one block: the sum of what each removed weight alone asks for
    mask = select({"w": weight_score}, 0.5)["w"]
    change = torch.cat(
        [
            inverse @ part
            for inverse, part in zip(
                inverses, ((found.weight * ~mask) / pivots).flatten().split(50), strict=True
            )
        ]
    )
    expected = (found.weight - change.view(7, 9)) * mask
    assert torch.allclose(solve.woodfisher_update(found, mask), expected, rtol=1e-8)


def test_woodfisher_score_is_the_least_loss_that_any_update_can_reach(monkeypatch):
    monkeypatch.setattr(solve, "FISHER_DAMPING", 1e-3)
    _, _, found = fisher_problem()
    quadratic = found.fisher[0] + 1e-3 * torch.eye(50, dtype=torch.float64)
    first = found.weight.flatten()[:50]
    for gone in (0, 7, 49):
        keep = torch.arange(50) != gone
        change = least_squares(first[None], quadratic, keep)[0] - first  # the best with this weight at 0
        loss = float(0.5 * change @ quadratic @ change)
        assert float(solve.woodfisher(found).flatten()[gone]) == pytest.approx(loss, rel=1e-8)
        mask = torch.ones(63, dtype=torch.bool).scatter_(0, torch.tensor(gone), False).view(7, 9)
        repaired = solve.woodfisher_update(found, mask).flatten()[:50]
        assert torch.allclose(repaired, first + change, rtol=1e-8)


def test_woodfisher_goes_on_from_a_pruned_model_and_ranks_the_whole_network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 4))
    batches = [(torch.randn(8, 9), torch.arange(8) % 4)]
    half = prune(model, "woodfisher", 0.5, batches=batches)
    more = prune(half.model, "woodfisher", 0.75, batches=batches, masks=half.masks)
    assert all(not (more.masks[name] & ~mask).any() for name, mask in half.masks.items())
    weights = dict(more.model.named_parameters())
    assert all(not weights[name][~mask].any() for name, mask in more.masks.items())
    kept = {name: weights[name][mask] for name, mask in more.masks.items()}
    before = {name: dict(half.model.named_parameters())[name][mask] for name, mask in more.masks.items()}
    assert not any(torch.equal(kept[name], before[name]) for name in kept)  # repaired again
    shares = [float(mask.double().mean()) for mask in half.masks.values()]
    assert shares[0] != pytest.approx(shares[1], abs=0.02)


@pytest.mark.parametrize("method", [solve.obs, solve.sparsegpt])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.9])
def test_solvers_remove_exactly_and_beat_the_mask_without_repair(method, sparsity):
    found = problem(7, 12)
    before = found.weight.clone(), found.gram.clone()
    mask, solved = method(found, sparsity)
    assert int((~mask).sum()) == round(sparsity * 84) and not solved[~mask].any()
    assert error(found, solved) <= error(found, found.weight.where(mask, 0.0)) + 1e-9
    assert torch.equal(found.weight, before[0]) and torch.equal(found.gram, before[1])


def test_sparsegpt_equals_obs_on_one_block_whose_order_is_forced():
    """The errors of the first column reach all the others: both are least squares on the mask."""
    found = problem(1, 4)
    found.weight[0, 0] = 1e-6  # so the first column goes
    (first, repaired), (second, reference) = (method(found, 0.25) for method in (solve.sparsegpt, solve.obs))
    assert torch.equal(first, second) and not first[0, 0]
    assert torch.allclose(repaired, reference, rtol=1e-9)


def test_sparsegpt_by_hand_for_two_inputs():
    # removing column 1 of [w1, w2] moves w2 by w1 h12 / h22
    gram = torch.tensor([[4.0, 2.0], [2.0, 4.0]])
    found = Evidence("w", torch.tensor([[1.0, 2.0]]), gram=gram)
    mask, solved = solve.sparsegpt(found, 0.5)
    hessian = gram + 0.04 * torch.eye(2)
    assert mask.tolist() == [[False, True]]
    assert torch.allclose(solved, torch.tensor([[0.0, 2 + hessian[0, 1] / hessian[1, 1]]]))


def test_sparsegpt_blocks_of_128_columns_give_an_exact_count():
    found = problem(3, 300)
    mask, solved = solve.sparsegpt(found, 0.37)
    assert int((~mask).sum()) == round(0.37 * 900)
    assert error(found, solved) < error(found, found.weight.where(mask, 0.0))


@pytest.mark.parametrize("method", [solve.obs, solve.sparsegpt])
@pytest.mark.parametrize("pattern", ["2:4", "1:4", "3:6"])
def test_solvers_take_n_of_every_m_inputs_of_linear_and_convolution(method, pattern):
    n, m = map(int, pattern.split(":"))
    layer, x = nn.Conv2d(12, 4, 3, groups=1), torch.randn(8, 12, 6, 6)
    found = collect(layer, ["weight"], ("gram",), [x])["weight"]
    mask, solved = method(found, 1 - n / m, pattern)
    groups = mask.movedim(1, -1).reshape(-1, m).sum(1)  # neighbours along the input dimension
    assert set(groups.tolist()) == {n} and not solved[~mask].any()
    flat = Evidence("w", layer.weight.detach().flatten(1), gram=found.gram)
    assert error(flat, solved.flatten(1)) < error(flat, flat.weight.where(mask.flatten(1), 0.0))


@pytest.mark.parametrize("method", [solve.obs, solve.sparsegpt])
def test_solvers_treat_the_groups_of_a_convolution_apart(method):
    layer, x = nn.Conv2d(4, 6, 3, groups=2), torch.randn(8, 4, 6, 6)
    found = collect(layer, ["weight"], ("gram",), [x])["weight"]
    mask, solved = method(found, 0.5)
    half = Evidence("w", found.weight[3:], gram=found.gram[1])
    alone = method(half, 0.5)
    assert torch.equal(mask[3:], alone[0]) and torch.allclose(solved[3:], alone[1])


@pytest.mark.parametrize("method", [solve.obs, solve.sparsegpt])
def test_dead_inputs_go_first(method):
    found = problem(3, 6)
    found.gram[2] = found.gram[:, 2] = 0
    mask, solved = method(found, 1 / 6)
    assert not mask[:, 2].any() and int(mask.sum()) == 15 and solved.isfinite().all()


@pytest.mark.parametrize("method", [solve.obs, solve.sparsegpt])
def test_b04_evidence_that_is_not_finite_names_the_layer(method):
    found = problem(2, 4)
    found.gram[0, 0] = math.nan
    with pytest.raises(ValueError, match=r"w \(inputs\): 1 of 16 entries are NaN"):
        method(found, 0.5)


def test_b04_gradients_that_are_not_finite_name_the_layer(net, batches):
    x, y = batches[0]
    spoilt = torch.full_like(x, torch.nan)
    with pytest.raises(ValueError, match="stem.0.weight: 216 of 216 entries are NaN"):
        masks_of(net, "snip", 0.5, [(x, y), (spoilt, y)])


def test_any_weight_score_takes_a_pattern_and_training_rules_do_not():
    assert (find("wanda:2:4").unit, find("wanda:2:4").pattern) == ("n:m", "2:4")
    with pytest.raises(ValueError, match="gradual takes no pattern"):
        find("gradual:2:4")
