"""Methods that choose weights and repair the rest, from X Xᵀ of a layer's inputs or the loss's Fisher matrix."""

from collections.abc import Callable

import torch
from torch import Tensor

from survey_lib.chain.evidence.base import Evidence
from survey_lib.chain.evidence.weights import in_blocks
from survey_lib.chain.patterns import n_of_m, parse, to_matrix
from survey_lib.chain.selection import check_finite, keep_largest

DAMPING = 0.01  # share of the mean diagonal, as in the reference implementation of frantar2023sparsegpt
BLOCK = 128  # columns of one block in the reference implementation of frantar2023sparsegpt
BATCH = 2**20  # entries of H⁻¹ that obs updates at once: 8 MiB stay in the cache
FISHER_DAMPING = 1e-7  # λ of kurtic2022optimal; singh2020woodfisher takes 1e-5

# (weight (out, k), hessian (k, k), share, n:m or None) -> keep-mask (out, k), weight (out, k)
Solver = Callable[[Tensor, Tensor, float, tuple[int, int] | None], tuple[Tensor, Tensor]]


def obs(evidence: Evidence, sparsity: float, pattern: str = "") -> tuple[Tensor, Tensor]:
    """Remove what the layer's output misses least and repair the rest of the row (hassibi1993optimal).

    Optimal Brain Surgeon on a layer's output, as in ExactOBS (frantar2022optimal). Removes the weight of
    least w_p² / [H⁻¹]_pp, H = X Xᵀ, and moves the rest of its row by −w_p / [H⁻¹]_pp · H⁻¹_{:,p}, again and
    again; rows then share the layer's count by their losses, as in the reference implementation. H is
    damped by 1 % of its mean diagonal; dead inputs go first. Costs out · k³ for k inputs: for small layers.

    Parameters
    ----------
    evidence : Evidence
        Evidence of the layer, with `gram`.
    sparsity : float
        Fraction of the layer to remove.
    pattern : str, default ''
        N:M, or empty for single weights.

    Returns
    -------
    tuple[Tensor, Tensor]
        The mask and the repaired weight.

    Examples
    --------
    >>> mask, weight = obs(Evidence("w", torch.tensor([[1.0, 1.1]]), gram=torch.eye(2)), 0.5)
    >>> mask, weight
    (tensor([[False,  True]]), tensor([[0.0000, 1.1000]]))
    """
    return _solve(evidence, sparsity, pattern, _obs)


def sparsegpt(evidence: Evidence, sparsity: float, pattern: str = "") -> tuple[Tensor, Tensor]:
    """Remove column by column and pass the error on to the columns that follow (frantar2023sparsegpt).

    OBS with one Cholesky factor for all rows. U = upper Cholesky factor of H⁻¹. In blocks of 128 columns
    the weights of least w² / U_jj² go (n:m: in each group of m when its turn comes) and each removed
    weight's error is passed on to the columns right of it: W_{:,j:} −= w_j / U_jj · U_{j,j:}. Damping and
    dead inputs as in the reference implementation. `prune` observes all layers in the dense model; the
    paper goes block by block, each seeing the pruned blocks before it:
    `experiment.networks.language.prune_language`, or `prune` again and again with `layers=` one block.
    Embeddings and tied heads stay dense, as in the paper. Errors grow with correlated inputs and few
    calibration tokens.

    Parameters
    ----------
    evidence : Evidence
        Evidence of the layer, with `gram`.
    sparsity : float
        Fraction of the layer to remove.
    pattern : str, default ''
        N:M, or empty for single weights.

    Returns
    -------
    tuple[Tensor, Tensor]
        The mask and the repaired weight.

    Examples
    --------
    >>> mask, weight = sparsegpt(Evidence("w", torch.tensor([[1.0, 1.1]]), gram=torch.eye(2)), 0.5)
    >>> mask, weight
    (tensor([[False,  True]]), tensor([[0.0000, 1.1000]]))
    """
    return _solve(evidence, sparsity, pattern, _sparsegpt)


def woodfisher(evidence: Evidence) -> Tensor:
    """Second-order change of the loss, Fisher matrix in blocks; repairs the rest (singh2020woodfisher).

    Optimal Brain Surgeon with the empirical Fisher matrix of the whole network's loss. score = w_i² / (2
    [F⁻¹]_ii), ranked over the whole network; F = λI + the mean over single examples of g gᵀ within blocks
    of 50 neighbouring weights, λ = 1e-7, both as in kurtic2022optimal (oBERT). The papers build F⁻¹ by
    Woodbury's identity, example by example; here F is added up and inverted, which is the same matrix. The
    reference implementations average g over mini-batches to look at more data. What earlier rounds removed
    takes no part. Memory: 50 times the weights. Assumes a trained network (g ≈ 0 on average).

    Examples
    --------
    >>> fisher = torch.zeros(1, 50, 50); fisher[0, :2, :2] = torch.tensor([[2.0, 1], [1, 2]])
    >>> woodfisher(Evidence("w", torch.tensor([[1.0, 3.0]]), fisher=fisher))  # [F⁻¹]_ii = 2/3
    tensor([[0.7500, 6.7500]], dtype=torch.float64)
    """
    pivots = _inverse(evidence).diagonal(dim1=1, dim2=2).flatten()[: evidence.weight.numel()]
    return evidence.weight.double().square() / (2 * pivots.view(evidence.weight.shape))


def woodfisher_update(evidence: Evidence, mask: Tensor) -> Tensor:
    """The kept weights moved to make up for the removed ones: w ← w − F⁻¹ Σ_i e_i w_i / [F⁻¹]_ii.

    The sum runs over all removed i of a block at once, as in the reference implementations: each removed
    weight is made up for as if it were the only one, which is too much where many of a block go.

    Parameters
    ----------
    evidence : Evidence
        Evidence of the layer, with `fisher`.
    mask : Tensor
        Bool, True = kept.

    Examples
    --------
    >>> fisher = torch.zeros(1, 50, 50); fisher[0, :2, :2] = torch.tensor([[2.0, 1], [1, 2]])
    >>> found = Evidence("w", torch.tensor([[1.0, 3.0]]), fisher=fisher)
    >>> woodfisher_update(found, torch.tensor([[False, True]]))
    tensor([[0.0000, 3.5000]])
    """
    inverse, weight = _inverse(evidence), evidence.weight
    removed = in_blocks((weight.double() * ~mask).flatten()) / inverse.diagonal(dim1=1, dim2=2)
    change = (inverse @ removed[:, :, None]).flatten()[: weight.numel()].view(weight.shape)
    return ((weight.double() - change) * mask).to(weight.dtype)


def _inverse(evidence: Evidence) -> Tensor:
    """(blocks, 50, 50) inverse of the Fisher matrix of the weights that are left, damped by λ."""
    alive = in_blocks((evidence.weight != 0).flatten().double())
    fisher = evidence.fisher * alive[:, :, None] * alive[:, None, :]
    check_finite({evidence.name: evidence.weight, f"{evidence.name} (gradients)": fisher})
    fisher.diagonal(dim1=1, dim2=2).add_(FISHER_DAMPING)
    return torch.cholesky_inverse(torch.linalg.cholesky(fisher))


@torch.no_grad()
def _solve(evidence: Evidence, sparsity: float, pattern: str, solver: Solver) -> tuple[Tensor, Tensor]:
    """Run a solver on each group of a layer, in float64, with columns ordered as n:m patterns need them."""
    weight, gram = evidence.weight, evidence.gram
    check_finite({evidence.name: weight, f"{evidence.name} (inputs)": gram})
    n_m = parse(pattern) if pattern else None
    count = weight[0].numel()
    order = to_matrix(torch.arange(count, device=weight.device).view(1, *weight.shape[1:]))[0]
    groups = gram.reshape(-1, count, count)  # one for each group of a convolution
    masks, solved = [], []
    for rows, moments in zip(weight.flatten(1).chunk(len(groups)), groups, strict=True):
        hessian, dead = damped(moments[order][:, order])
        mask, repaired = solver(rows[:, order].double().masked_fill(dead, 0), hessian, sparsity, n_m)
        masks.append(mask[:, order.argsort()])
        solved.append(repaired.where(mask, 0)[:, order.argsort()])
    shape = weight.shape
    return torch.cat(masks).view(shape), torch.cat(solved).to(weight.dtype).view(shape)


def _obs(weight: Tensor, hessian: Tensor, share: float, n_m: tuple[int, int] | None) -> tuple[Tensor, Tensor]:
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    parts = weight.split(max(1, BATCH // hessian.numel()))
    traces = [_removals(part, inverse, n_m) for part in parts]
    order, loss = (torch.cat(found) for found in zip(*traces, strict=True))
    if n_m:
        removed = torch.zeros_like(order, dtype=torch.bool)
    else:
        # a row's removals only make sense in their order, so a later one never ranks before an earlier one
        removed = keep_largest(loss.cummax(dim=1).values, round(share * weight.numel()))
    mask = torch.ones_like(weight, dtype=torch.bool).scatter_(1, order, removed)
    rows = [least_squares(row[None], hessian, keep) for row, keep in zip(weight, mask, strict=True)]
    return mask, torch.cat(rows)


def _removals(weight: Tensor, inverse: Tensor, n_m: tuple[int, int] | None) -> tuple[Tensor, Tensor]:
    """Each row's weights in the order OBS removes them and the loss of each, both (rows, removals)."""
    weight, inverse = weight.clone(), inverse.repeat(len(weight), 1, 1)
    rows, count = torch.arange(len(weight), device=weight.device), weight.shape[1]
    n, m = n_m or (0, count)
    allowed = torch.full((len(weight), count // m), m - n, device=weight.device)
    alive = torch.ones_like(weight, dtype=torch.bool)
    order, losses = [], []
    for _ in range(count // m * (m - n)):
        pivot = inverse.diagonal(dim1=1, dim2=2)
        free = alive & (allowed > 0).repeat_interleave(m, 1)
        loss, chosen = torch.where(free, weight.square() / pivot, torch.inf).min(1)
        column, scale = inverse[rows, :, chosen], pivot[rows, chosen][:, None]
        weight -= weight[rows, chosen][:, None] / scale * column
        inverse.baddbmm_(column[:, :, None], (column / -scale)[:, None, :])
        alive[rows, chosen] = False
        allowed[rows, chosen // m] -= 1
        order.append(chosen)
        losses.append(loss)
    empty = torch.empty(len(weight), 0, device=weight.device)
    return (torch.stack(order, 1), torch.stack(losses, 1)) if order else (empty.long(), empty)


def _sparsegpt(
    weight: Tensor, hessian: Tensor, share: float, n_m: tuple[int, int] | None
) -> tuple[Tensor, Tensor]:
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    factor = torch.linalg.cholesky(inverse, upper=True)
    width = max(BLOCK // n_m[1], 1) * n_m[1] if n_m else BLOCK
    weight, mask, gone = weight.clone(), torch.ones_like(weight, dtype=torch.bool), 0
    for start in range(0, weight.shape[1], width):
        block = slice(start, min(start + width, weight.shape[1]))
        if not n_m:
            # Cumulative, so that the layer's count is exact
            target = round(share * weight.shape[0] * block.stop)
            mask[:, block] = keep_largest(
                weight[:, block].square() / factor.diagonal()[block].square(), target - gone
            )
            gone = target
        error = torch.zeros_like(weight[:, block])
        for j in range(block.start, block.stop):
            if n_m and j % n_m[1] == 0:
                group = slice(j, j + n_m[1])
                mask[:, group] = n_of_m(weight[:, group].square() / factor.diagonal()[group].square(), *n_m)
            error[:, j - start] = weight[:, j] * ~mask[:, j] / factor[j, j]
            weight[:, j : block.stop] -= error[:, j - start, None] * factor[j, j : block.stop]
        weight[:, block.stop :] -= error @ factor[block, block.stop :]
    return mask, weight


def damped(gram: Tensor) -> tuple[Tensor, Tensor]:
    """X Xᵀ in float64 made invertible, and which inputs are dead (always zero).

    Dead inputs get 1 on the diagonal, all inputs 1 % of the mean diagonal.

    Examples
    --------
    >>> damped(torch.tensor([[4.0, 0.0], [0.0, 0.0]]))[1]
    tensor([False,  True])
    """
    hessian = gram.double().clone()
    dead = hessian.diagonal() == 0
    hessian.diagonal()[dead] = 1
    hessian.diagonal().add_(DAMPING * hessian.diagonal().mean())
    return hessian, dead


def least_squares(weight: Tensor, hessian: Tensor, keep: Tensor) -> Tensor:
    """The weights on the kept inputs that change the layer's output least: argmin ‖(W − Ŵ) X‖².

    Ŵ_S = W H_{:,S} (H_SS)⁻¹, zero elsewhere; the sum of the updates that OBS makes weight by weight.

    Parameters
    ----------
    weight : Tensor
        Weight (out, k).
    hessian : Tensor
        H = X Xᵀ (k, k).
    keep : Tensor
        Bool (k,), True = kept.

    Raises
    ------
    torch.linalg.LinAlgError
        If H_SS is singular (`damped`).

    Examples
    --------
    >>> least_squares(torch.ones(1, 2), torch.tensor([[2.0, 1.0], [1.0, 2.0]]), torch.tensor([True, False]))
    tensor([[1.5000, 0.0000]])
    """
    solved = torch.zeros_like(weight)
    if keep.any():
        solved[:, keep] = torch.linalg.solve(hessian[keep][:, keep], (weight @ hessian[:, keep]).mT).mT
    return solved
