"""Selection removes exactly what was asked; patterns cover every weight once; schedules end where they should."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune as torch_prune

from survey_lib.chain import patterns
from survey_lib.chain.selection import (
    SCOPES,
    check_sparsity,
    counts,
    cubic,
    erk,
    keep_in_rows,
    keep_largest,
    round_sparsities,
    select,
)

sparsities = st.floats(0, 0.999)
few_values = st.lists(st.sampled_from([0.0, 1.0, -1.0, 2.0]), min_size=1, max_size=60)


def removed(masks):
    return sum(int((~mask).sum()) for mask in masks.values())


@given(few_values, st.data())
def test_b01_exact_count_under_ties_and_the_lowest_index_goes_first(values, data):
    score = torch.tensor(values)
    count = data.draw(st.integers(0, len(values)))
    order = sorted(range(len(values)), key=lambda i: (values[i], i))
    expected = torch.ones(len(values), dtype=torch.bool)
    expected[order[:count]] = False
    assert torch.equal(keep_largest(score, count), expected)


def test_b01_by_hand():
    score = torch.tensor([[0.0, 0.0, 1.0, -1.0, 2.0, -2.0]]).abs()
    assert keep_largest(score, 3).tolist() == [[False, False, False, True, True, True]]
    constant = torch.ones(4, 4)
    assert removed(select({"a": constant}, 0.25)) == 4
    assert removed(select({"a": constant, "b": constant}, 0.5, "global")) == 16


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=5),
    sparsities,
    st.booleans(),
)
def test_every_scope_removes_exactly_the_asked_number(shapes, sparsity, constant):
    generator = torch.Generator().manual_seed(0)
    make = torch.ones if constant else lambda s: torch.rand(s, generator=generator)
    scores = {str(i): make(shape) for i, shape in enumerate(shapes)}
    total = sum(score.numel() for score in scores.values())
    for scope in SCOPES:
        masks = select(scores, sparsity, scope)
        by_layer = sum(round(sparsity * score.numel()) for score in scores.values())
        assert removed(masks) == (by_layer if scope in ("layerwise", "row") else round(sparsity * total))
        assert all(masks[name].shape == scores[name].shape for name in scores)
        again = select(scores, sparsity, scope)
        assert all(torch.equal(masks[name], again[name]) for name in scores)


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=6),
    sparsities,
    st.sampled_from(["layerwise", "global", "erk"]),
)
@example([9, 12, 9], 0.85, "erk")  # its layers' shares add up to a little less than 25.5
def test_b17_a_minimum_stays_in_every_layer(sizes, sparsity, scope):
    scores = {str(i): torch.full((size,), float(i)) for i, size in enumerate(sizes)}
    masks = select(scores, sparsity, scope, minimum=1)
    assert all(bool(mask.any()) for mask in masks.values())
    if scope != "layerwise":
        assert removed(masks) == min(round(sparsity * sum(sizes)), sum(sizes) - len(sizes))


@given(st.lists(st.tuples(st.integers(1, 50), sparsities), min_size=1, max_size=8), st.integers(0, 1))
def test_counts_share_out_the_rounded_total(layers, minimum):
    sizes = {str(i): size for i, (size, _) in enumerate(layers)}
    fractions = {str(i): fraction for i, (_, fraction) in enumerate(layers)}
    result = counts(sizes, fractions, minimum)
    wanted = round(round(sum(sizes[n] * fractions[n] for n in sizes), 9))
    assert sum(result.values()) == min(wanted, sum(sizes.values()) - minimum * len(sizes))
    assert all(0 <= result[n] <= sizes[n] - minimum for n in sizes)


@given(few_values, sparsities)
def test_a_larger_sparsity_removes_a_superset(values, sparsity):
    score = {"a": torch.tensor(values)}
    small, large = select(score, sparsity / 2)["a"], select(score, sparsity)["a"]
    assert bool((small | ~large).all())


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 12), st.data())
def test_rows_lose_the_same_number(rows, columns, data):
    score = torch.rand(rows, columns, generator=torch.Generator().manual_seed(1))
    count = data.draw(st.integers(0, rows * columns))
    lost = (~keep_in_rows(score, count)).sum(1)
    assert int(lost.sum()) == count and int(lost.max() - lost.min()) <= 1
    for row, number in zip(score, lost, strict=True):
        expected = torch.equal(keep_in_rows(row[None], int(number))[0], keep_largest(row, int(number)))
        assert expected


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.35, 0.5, 0.8, 0.99])
def test_layerwise_magnitude_equals_torch_prune(sparsity):
    layer = nn.Conv2d(4, 6, 3)
    ours = select({"weight": layer.weight.abs()}, sparsity)["weight"]
    torch_prune.l1_unstructured(layer, "weight", sparsity)
    assert torch.equal(ours, layer.weight_mask.bool())


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.8, 0.99])
def test_global_magnitude_equals_torch_prune(sparsity):
    layers = {"a": nn.Linear(16, 8), "b": nn.Conv2d(3, 5, 3), "c": nn.Linear(8, 64)}
    ours = select({name: layer.weight.abs() for name, layer in layers.items()}, sparsity, "global")
    pairs = [(layer, "weight") for layer in layers.values()]
    torch_prune.global_unstructured(pairs, torch_prune.L1Unstructured, amount=sparsity)
    assert all(torch.equal(ours[name], layer.weight_mask.bool()) for name, layer in layers.items())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("scope", SCOPES)
def test_b04_scores_that_are_not_finite_are_refused_by_name(value, scope):
    scores = {"first": torch.ones(2, 3), "second": torch.ones(2, 3)}
    scores["second"][0, 1] = value
    with pytest.raises(ValueError, match="second: 1 of 6 entries"):
        select(scores, 0.5, scope)


def test_b06_masks_do_not_multiply_on_every_update():
    torch.manual_seed(0)
    weight = torch.randn(100, 100)
    for _ in range(5):
        mask = select({"w": weight.abs()}, 0.5)["w"]
        assert int(mask.sum()) == 5000
        weight = weight * mask + 0.01 * torch.randn(100, 100)


@given(sparsities, st.integers(1, 20))
def test_b07_rounds_end_at_the_target_and_never_fall(sparsity, rounds):
    steps = round_sparsities(sparsity, rounds)
    assert len(steps) == rounds and steps[-1] == sparsity
    assert all(a <= b + 1e-12 for a, b in zip(steps, steps[1:], strict=False))


def test_b07_iterative_rounds_remove_equal_shares_of_what_is_left():
    kept = [1.0] + [1 - s for s in round_sparsities(0.9, 5)]
    shares = [b / a for a, b in zip(kept, kept[1:], strict=False)]
    assert shares == pytest.approx([0.1**0.2] * 5)


@pytest.mark.parametrize("period", [1, 3, 4, 7, 10])
def test_b07_cubic_is_held_at_its_final_value(period):
    values = [cubic(step, 10, 0.45) for step in range(0, 10 + period, period)]
    assert values[0] == 0.0 and values[-1] == 0.45
    assert cubic(8, 10, 0.45) == pytest.approx(0.4464)


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, float("nan"), "0.5", None])
def test_sparsity_outside_its_range_is_refused(sparsity):
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        check_sparsity(sparsity)


def test_numpy_numbers_are_sparsities():
    assert check_sparsity(np.float32(0.5)) == 0.5 and check_sparsity(0) == 0.0


def test_an_unknown_scope_names_what_is_allowed():
    with pytest.raises(ValueError, match="layerwise, global, erk"):
        select({"a": torch.ones(2)}, 0.5, "locally")


@given(st.lists(st.tuples(st.integers(1, 64), st.integers(1, 64)), min_size=1, max_size=6), sparsities)
def test_erk_keeps_the_asked_density_and_no_layer_above_one(shapes, sparsity):
    layers = {str(i): shape for i, shape in enumerate(shapes)}
    fractions = erk(layers, sparsity)
    total = sum(math.prod(shape) for shape in shapes)
    assert sum(fractions[n] * math.prod(layers[n]) for n in layers) == pytest.approx(
        sparsity * total, abs=1e-6 * total
    )
    assert all(-1e-9 <= fraction <= 1 for fraction in fractions.values())


weights = st.sampled_from([(4, 8), (2, 4, 3, 3), (8, 8, 1, 5), (4, 4, 2, 3)])


@given(weights)
def test_matrix_form_round_trip(shape):
    weight = torch.arange(math.prod(shape)).view(shape)
    matrix = patterns.to_matrix(weight)
    assert torch.equal(patterns.from_matrix(matrix, weight.shape), weight)
    assert matrix.shape[0] == shape[0] and matrix[0, 1] == weight[(0, 1) + (0,) * (len(shape) - 2)]


@settings(deadline=None)
@given(weights, st.sampled_from(["weight", "kernel", "vector", "1x4", "2x1", "2x2"]), st.integers(0, 99))
def test_patterns_pool_and_spread_every_weight_once(shape, unit, seed):
    unit, pattern = ("block", unit) if "x" in unit else (unit, "")
    assume(unit == "weight" or not patterns.misfit(torch.Size(shape), unit, pattern))
    score = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    pooled = patterns.pool(score, unit, pattern)
    assert float(pooled.sum()) == pytest.approx(float(score.sum()), rel=1e-5)
    keep = keep_largest(pooled, pooled.numel() // 2)
    mask = patterns.spread(keep, score.shape, unit, pattern)
    size = score.numel() // pooled.numel()
    assert mask.shape == score.shape
    assert torch.equal(patterns.pool(mask.float(), unit, pattern), keep.float() * size)


@given(weights, st.sampled_from([(1, 4), (2, 4), (3, 4), (1, 2), (4, 4)]), st.booleans())
def test_b01_n_of_m_keeps_exactly_n_of_every_m_neighbours(shape, n_and_m, constant):
    n, m = n_and_m
    score = torch.ones(shape) if constant else torch.rand(shape, generator=torch.Generator().manual_seed(2))
    mask = patterns.n_of_m(score, n, m)
    groups = patterns.to_matrix(mask).reshape(-1, m)
    assert torch.equal(groups.sum(1), torch.full((len(groups),), n))
    values = patterns.to_matrix(score).reshape(-1, m)
    kept, lost = values.masked_fill(~groups, 9).amin(1), values.masked_fill(groups, -9).amax(1)
    assert bool((kept >= lost).all())


def test_n_of_m_runs_along_the_input_dimension():
    score = torch.zeros(1, 4, 2, 1)
    score[0, :, 0, 0], score[0, :, 1, 0] = torch.tensor([4.0, 1, 3, 2]), torch.tensor([1.0, 2, 3, 4])
    mask = patterns.n_of_m(score, 2, 4)
    assert mask[0, :, 0, 0].tolist() == [True, False, True, False]
    assert mask[0, :, 1, 0].tolist() == [False, False, True, True]


@pytest.mark.parametrize("pattern", ["2-4", "0:4", "1x0", "4:2", "", "a:b"])
def test_patterns_that_make_no_sense_are_refused(pattern):
    with pytest.raises(ValueError, match="pattern must look like|at most M"):
        patterns.parse(pattern)


@pytest.mark.parametrize(
    "shape, unit, pattern, reason",
    [
        ((8, 6), "n:m", "2:4", "6 inputs"),
        ((3, 8), "block", "2x2", "not a multiple"),
        ((8, 8, 1, 1), "kernel", "", "wider"),
    ],
)
def test_misfit_says_why(shape, unit, pattern, reason):
    assert reason in patterns.misfit(torch.Size(shape), unit, pattern)
    assert patterns.misfit(torch.Size((8, 8, 3, 3)), unit, pattern) == ""
