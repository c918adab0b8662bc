"""Methods that choose and repair at once: single weights, or the input channels of the next layer.

Weights are chosen from X Xᵀ of a layer's inputs or from the loss's Fisher matrix. For channels a `solve` method takes
the Evidence of a group and the number of channels to remove, and gives the keep-mask (channels,) and the consumers'
new weights, {tensor name: (channels, n, out)}; `channels.write_consumers` puts them back, and adds {bias name:
(out,)}. Everything follows from the second moments of what the consumers read. `prune` goes from group to group: each
is seen in the network pruned and repaired so far, as in both papers.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from survey_lib.chain.evidence.base import Consumer, Evidence
from survey_lib.chain.evidence.weights import in_blocks
from survey_lib.chain.patterns import n_of_m, parse, to_matrix
from survey_lib.chain.repair import damped, least_squares
from survey_lib.chain.selection import check_finite, keep_largest

BLOCK = 128  # columns of one block in the reference implementation of frantar2023sparsegpt
BATCH = 2**20  # entries of H⁻¹ that obs updates at once: 8 MiB stay in the cache
FISHER_DAMPING = 1e-7  # λ of kurtic2022optimal; singh2020woodfisher takes 1e-5

# (weight (out, k), hessian (k, k), share, n:m or None) -> keep-mask (out, k), weight (out, k)
Solver = Callable[[Tensor, Tensor, float, tuple[int, int] | None], tuple[Tensor, Tensor]]
Repaired = dict[str, Tensor]


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


def contributions(consumer: Consumer, gram: Tensor | None = None) -> Tensor:
    """Inner products of the channels' contributions to a consumer's output, G_ij = ⟨X_i W_i, X_j W_j⟩.

    (channels, channels) in float64, summed over positions and outputs, from the gram of the inputs alone (the
    consumer's own, or another). Removing the set T changes the output by 1ᵀ G_TT 1.

    Parameters
    ----------
    consumer : Consumer
        A layer that reads the group.
    gram : Tensor, optional
        In place of the consumer's own.

    Examples
    --------
    >>> gram, zero = torch.tensor([[3.0, 1.0], [1.0, 5.0]]), torch.zeros(2)
    >>> contributions(Consumer("w", torch.tensor([[[1.0]], [[2.0]]]), gram, gram, zero, zero, 1)).tolist()
    [[3.0, 2.0], [2.0, 20.0]]
    """
    count, width, _ = consumer.weight.shape
    flat = consumer.weight.flatten(0, 1).double()
    products = (consumer.gram if gram is None else gram) * (flat @ flat.mT)
    return products.view(count, width, count, width).sum((1, 3))


def thinet(evidence: Evidence, removed: int) -> tuple[Tensor, Repaired]:
    """Greedily remove the channels that the next layer's output misses least (luo2017thinet).

    The kept ones are then rescaled by least squares. The removed set T grows by argmin_j ‖Σ_{t ∈ T ∪ j} X_t
    W_t‖²; then each kept channel's weights are multiplied by the β that minimises ‖Y − Σ_kept β_c X_c W_c‖².
    X and Y are inputs and output of the layer in the network pruned so far (equation 3 of the paper, Y = Σ_c
    X_c W_c, and the authors' code), not in the dense one as in `lasso`. The authors sample positions and
    outputs; here all are used, and the outputs of all consumers are counted. They fine-tune for an epoch or
    two after each layer, which also renews the batch-norm statistics: here estimate those again after
    pruning, or the accuracy before recovery says little. Fails where greedy does: pairs that cancel are found
    only one by one.

    Parameters
    ----------
    evidence : Evidence
        Evidence of the group, with `consumers`.
    removed : int
        Number of channels to remove.

    Returns
    -------
    tuple[Tensor, Repaired]
        Keep (channels,) and the consumers' weights.

    Examples
    --------
    >>> gram, zero = torch.diag(torch.tensor([4.0, 1.0, 9.0]).double()), torch.zeros(3).double()
    >>> consumer = Consumer("w", torch.ones(3, 1, 1), gram, gram, zero, zero, 1)
    >>> thinet(Evidence("g", torch.zeros(3, 1), consumers=(consumer,)), 1)[0]
    tensor([ True, False,  True])
    """
    inner = [contributions(consumer) for consumer in evidence.consumers]
    total = sum(inner).cpu().numpy()
    keep, cross = np.ones(len(total), bool), np.zeros(len(total))
    for _ in range(removed):
        change = np.where(keep, total.diagonal() + 2 * cross, np.inf)
        worst = int(change.argmin())
        keep[worst] = False
        cross += total[:, worst]
    kept = torch.from_numpy(keep)
    return kept, {c.tensor: _rescaled(c, g, kept) for c, g in zip(evidence.consumers, inner, strict=True)}


def _rescaled(consumer: Consumer, inner: Tensor, keep: Tensor) -> Tensor:
    scale = torch.zeros_like(inner[0])
    scale[keep] = torch.linalg.solve(_regular(inner)[keep][:, keep], inner.sum(1)[keep])
    return consumer.weight * scale.view(-1, 1, 1).to(consumer.weight)


def lasso(evidence: Evidence, removed: int) -> tuple[Tensor, Repaired]:
    """LASSO chooses the input channels of the next layer, least squares refits its weights (he2017channel).

    min_β ½‖Y − Σ_c β_c X_c W_c − b‖² + λ‖β‖₁, X what the layer reads in the network pruned so far, Y its
    output in the dense one, solved along the whole path of λ (scikit-learn's LARS): the last point with no
    more non-zero β than channels to keep; places left over go to the channels next to enter. Then W', b =
    argmin ‖Y − X_kept W' − b‖² for each consumer. A consumer without bias has no intercept b: its batch norm
    has a shift already. Fails on duplicated channels: the path takes either of them.

    Parameters
    ----------
    evidence : Evidence
        Evidence of the group, with `consumers`.
    removed : int
        Number of channels to remove.

    Returns
    -------
    tuple[Tensor, Repaired]
        Keep (channels,), the consumers' weights and what their biases gain.

    Examples
    --------
    >>> gram, zero = torch.diag(torch.tensor([4.0, 1.0, 9.0]).double()), torch.zeros(3).double()
    >>> consumer = Consumer("w", torch.ones(3, 1, 1), gram, gram, zero, zero, 1)
    >>> lasso(Evidence("g", torch.zeros(3, 1), consumers=(consumer,)), 1)[0]
    tensor([ True, False,  True])
    """
    centred = [_centred(consumer) for consumer in evidence.consumers]
    parts = list(zip(evidence.consumers, centred, strict=True))
    inner, target = (sum(contributions(c, found[which]) for c, found in parts) for which in (0, 1))
    keep = keep_largest(lasso_order(inner, target.sum(1), len(inner) - removed), removed)
    repaired: Repaired = {}
    for consumer, (gram, cross) in parts:
        repaired |= _refitted(consumer, gram, cross, keep)
    return keep, repaired


def _centred(consumer: Consumer) -> tuple[Tensor, Tensor]:
    """X Xᵀ and X Dᵀ about their means: what an intercept leaves to explain."""
    mean = consumer.count * consumer.mean[:, None]
    return consumer.gram - mean * consumer.mean, consumer.cross - mean * consumer.dense_mean


def lasso_order(inner: Tensor, target: Tensor, kept: int) -> Tensor:
    """Rank of each channel (higher = keep) by the LASSO path.

    Channels that are non-zero on the path come first, then the others by correlation with what is left
    unexplained, which decides who enters next.

    Parameters
    ----------
    inner : Tensor
        Inner products of the channels' contributions (channels, channels).
    target : Tensor
        Their products with the output to explain (channels,).
    kept : int
        Number of channels to keep.
    """
    from sklearn.linear_model import lars_path_gram  # slow to import, and only this method needs it

    scale = inner.diagonal().max().clamp_min(torch.finfo(inner.dtype).tiny)
    gram, aim = (inner / scale).cpu().numpy(), (target / scale).cpu().numpy()
    _, _, path = lars_path_gram(aim, gram, n_samples=1, method="lasso")
    point = max(i for i in range(path.shape[1]) if np.count_nonzero(path[:, i]) <= kept)
    beta = path[:, point]
    residual = np.abs(aim - gram @ beta)
    return torch.from_numpy(np.lexsort((residual, np.abs(beta))).argsort())


def _refitted(consumer: Consumer, gram: Tensor, cross: Tensor, keep: Tensor) -> Repaired:
    columns = keep.repeat_interleave(consumer.weight.shape[1])
    dense = consumer.weight.flatten(0, 1).double()  # (channels·n, out)
    fitted = torch.zeros_like(dense)
    fitted[columns] = torch.linalg.solve(_regular(gram)[columns][:, columns], cross[columns] @ dense)
    repaired = {consumer.tensor: fitted.view(consumer.weight.shape).to(consumer.weight)}
    if consumer.mean.any() or consumer.dense_mean.any():
        shift = consumer.dense_mean @ dense - consumer.mean @ fitted
        repaired[consumer.tensor.removesuffix("weight") + "bias"] = shift.to(consumer.weight)
    return repaired


def _regular(gram: Tensor) -> Tensor:
    """The gram with 1e-8 of its mean diagonal added: dead and duplicated inputs stay solvable."""
    gram = gram.double()
    ridge = 1e-8 * gram.diagonal().mean().clamp_min(torch.finfo(gram.dtype).tiny)
    return gram + ridge * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
