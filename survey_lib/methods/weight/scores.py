"""Weight scores (unstructured): what each paper adds, one pure function a method.

A score reads the `Evidence` of one layer and returns a tensor of the weight's shape; higher means keep.
"""

import re

import torch
from torch import Tensor

from survey_lib.chain.evidence.base import Evidence


def random(evidence: Evidence) -> Tensor:
    """Seeded uniform scores, the baseline every criterion has to beat.

    score ~ U[0, 1), drawn from the layer's own seed, so layers of equal shape get different masks (case B55).

    Examples
    --------
    >>> first, again = (random(Evidence("w", torch.ones(2, 2), seed=3)) for _ in range(2))
    >>> torch.equal(first, again)
    True
    """
    generator = torch.Generator().manual_seed(evidence.seed)
    return torch.rand(evidence.weight.shape, generator=generator).to(evidence.weight.device)


def magnitude(evidence: Evidence) -> Tensor:
    """Remove the smallest weights (han2015learning).

    `score = |w|`. Blind to the scale of the inputs: a small weight on a large input goes first; layers of
    different scale make its global ranking empty whole layers.

    Examples
    --------
    >>> magnitude(Evidence("w", torch.tensor([[-2.0, 1.0]])))
    tensor([[2., 1.]])
    """
    return evidence.weight.abs()


def snip(evidence: Evidence) -> Tensor:
    """Keep connections the loss at initialisation feels (lee2019snip).

    Connection sensitivity. `score = |g·w|`, ranked globally; the reference implementation's division by the
    global sum keeps the order. Fails at high sparsity by cutting whole layers, as the loss is only looked
    at once.

    Examples
    --------
    >>> snip(Evidence("w", torch.tensor([[2.0, -1.0]]), grad=torch.tensor([[0.5, 3.0]])))
    tensor([[1., 3.]])
    """
    return (evidence.grad * evidence.weight).abs()


def iter_snip(evidence: Evidence) -> Tensor:
    """SNIP again and again on what is left; what is removed stays removed (dejorge2021progressive).

    `score = |g(m ⊙ w)·w|`, g at the network pruned so far, in 60 rounds as with `force`, from which it differs
    in that removed weights take no part. Gradients are averaged over all batches. Without rounds it is SNIP.

    Examples
    --------
    >>> iter_snip(Evidence("w", torch.tensor([[2.0, 0.0]]), grad=torch.tensor([[0.5, 3.0]])))
    tensor([[1., 0.]])
    """
    return snip(evidence)


def force(evidence: Evidence) -> Tensor:
    """SNIP again and again on what is left; removed weights may return (dejorge2021progressive).

    Foresight sensitivity. `score = |g(m ⊙ w)·w|`, g at the network pruned so far and w the original weight.
    In each of 60 rounds, as in the authors' example, the density falls by the same factor. Removed weights are
    scored like all others and may return, unlike with `iter-snip`. Gradients are averaged over all batches; the
    authors take a fresh batch in each round. Without rounds it is SNIP.

    Examples
    --------
    >>> force(Evidence("w", torch.tensor([[2.0, -1.0]]), grad=torch.tensor([[0.5, 3.0]])))
    tensor([[1., 3.]])
    """
    return snip(evidence)


def synflow(evidence: Evidence) -> Tensor:
    """Keep the flow of an all-ones input; no data (tanaka2020pruning).

    Synaptic flow. `score = |w · ∂R/∂w|` with `R = 1ᵀ Π_l |W_l| 1`, float64, computed again in each of 100
    rounds whose density falls exponentially. In a layer without bias the scores of a unit's inputs and
    outputs sum to the same flow, so no layer empties before the others. Looks at no data: at low sparsity
    SNIP is better.

    Examples
    --------
    >>> synflow(Evidence("w", torch.tensor([[2.0, -1.0]]), flow=torch.tensor([[0.5, 3.0]])))
    tensor([[1., 3.]])
    """
    return evidence.weight.abs() * evidence.flow


def lamp(evidence: Evidence) -> Tensor:
    """Layer-adaptive magnitude: relative to all larger weights of the layer, ranked globally (lee2021layer).

    score_u = w_u² / Σ_v w_v² over the v that are not smaller, in ascending order of `|w|`; equal weights
    follow each other by index, as in the reference implementation. Each layer's largest weight scores 1, so a
    layer with any weight left keeps one until every layer is down to one. Ignores data like magnitude does.

    Examples
    --------
    >>> lamp(Evidence("w", torch.tensor([[3.0, 1.0]])))
    tensor([[1.0000, 0.1000]], dtype=torch.float64)
    """
    square = evidence.weight.flatten().double().square()
    ascending, order = square.sort(stable=True)
    not_smaller = ascending.flip(0).cumsum(0).flip(0).clamp_min(torch.finfo(torch.float64).tiny)
    return torch.empty_like(square).scatter_(0, order, ascending / not_smaller).view(evidence.weight.shape)


def taylor(evidence: Evidence) -> Tensor:
    """Remove weights the loss, to first order, does not miss (molchanov2019importance).

    score = mean over mini-batches of (g·w)², ranked globally; the square comes before the mean, as in the
    reference implementation. Near a minimum g vanishes and the score is mostly noise of the mini-batch.

    Examples
    --------
    >>> taylor(Evidence("w", torch.tensor([[2.0, -1.0]]), grad_sq=torch.tensor([[0.25, 9.0]])))
    tensor([[1., 9.]])
    """
    return evidence.grad_sq * evidence.weight.square()


def obd(evidence: Evidence) -> Tensor:
    """Optimal Brain Damage: second-order change of the loss, diagonal Hessian (lecun1989optimal).

    score = ½ h_ii w², with h_ii the empirical Fisher diagonal (squared gradients of single examples,
    averaged), which equals the Hessian's for a well-fitted likelihood. Assumes a trained network (g ≈ 0)
    and weights whose errors do not interact.

    Examples
    --------
    >>> obd(Evidence("w", torch.tensor([[2.0, -1.0]]), example_grad_sq=torch.tensor([[0.5, 4.0]])))
    tensor([[1., 2.]])
    """
    return 0.5 * evidence.example_grad_sq * evidence.weight.square()


def grasp(evidence: Evidence) -> Tensor:
    """Keep the gradient flow at initialisation (wang2020picking).

    Gradient signal preservation. score = w·(H g): the paper removes the largest −w·H g, the weights whose
    removal raises the gradient norm. Signed on purpose. The reference implementation divides the logits by
    200 for this, and so does the default loss of `evidence.collect`. At extreme sparsity better than SNIP,
    at low sparsity worse.

    Examples
    --------
    >>> grasp(Evidence("w", torch.tensor([[2.0, -1.0]]), hess_grad=torch.tensor([[0.5, 3.0]])))
    tensor([[ 1., -3.]])
    """
    return evidence.weight * evidence.hess_grad


def wanda(evidence: Evidence) -> Tensor:
    """Magnitude times the norm of the input it multiplies, within each output row (sun2024simple).

    Weights and activations, without training afterwards. `score_ij = |w_ij| · ‖x_j‖₂`, ranked within each
    output row. The norm runs over all calibration tokens, or over the places of a convolution kernel. Needs
    no update of the weights; falls behind SparseGPT above 60 %. Rows help language models; small image
    classifiers lose less with scope layerwise. Embeddings and tied heads stay dense. `prune` observes the
    dense model at once; the paper goes block by block, as `experiment.networks.language.prune_language` does.

    Examples
    --------
    >>> wanda(Evidence("w", torch.tensor([[2.0, -1.0]]), act_norm=torch.tensor([1.0, 4.0])))
    tensor([[2., 4.]])
    """
    return evidence.weight.abs() * evidence.act_norm


def ria(evidence: Evidence) -> Tensor:
    """Magnitude relative to the weight's input and output, times the root of the input norm (zhang2024plug).

    Relative importance and activations. `score_ij = (|w_ij| / Σ_i |w_ij| + |w_ij| / Σ_j |w_ij|) · √‖x_j‖₂`:
    a weight against the others of its input and of its output, so that no channel is emptied. Ranked within
    the layer, as the reference implementation does by default. The sums of a grouped convolution's inputs
    run over all groups. Fails where a whole input is noise: its weights still look large beside each other.

    Examples
    --------
    >>> ria(Evidence("w", torch.tensor([[3.0, 1.0], [1.0, 1.0]]), act_norm=torch.tensor([1.0, 4.0])))
    tensor([[1.5000, 1.5000],
            [0.7500, 2.0000]])
    """
    size = evidence.weight.abs()
    inputs, outputs = size.sum(0, keepdim=True), size.flatten(1).sum(1).view(-1, *[1] * (size.dim() - 1))
    tiny = torch.finfo(size.dtype).tiny
    return (size / inputs.clamp_min(tiny) + size / outputs.clamp_min(tiny)) * evidence.act_norm.sqrt()


OUTLIER, SPREAD = 5.0, 0.08  # M and λ of the reference implementation of yin2024outlier for LLaMA


def owl(found: dict[str, Evidence], sparsity: float) -> dict[str, float]:
    """Wanda with layer sparsities set by each block's share of outliers (yin2024outlier).

    Layers with more outliers keep more. D = share of Wanda scores above 5 times their mean, one for each
    block (the layers whose names agree up to their first number), as in the reference implementation.
    Density = 1 − s + 2λ (D − mean D) / (max D − min D), λ = 0.08; the mean is weighted by size, so the
    network as a whole has the asked sparsity. Where that would leave [0, 1], λ shrinks. Without blocks that
    differ in outliers it is Wanda.

    Parameters
    ----------
    found : dict[str, Evidence]
        Evidence of the layers, with `act_norm`.
    sparsity : float
        Sparsity of the network as a whole.

    Examples
    --------
    >>> weights = {"flat": torch.ones(1, 8), "spiky": torch.tensor([[50.0, 1, 1, 1, 1, 1, 1, 1]])}
    >>> owl({n: Evidence(n, w, act_norm=torch.ones(8)) for n, w in weights.items()}, 0.5)
    {'flat': 0.58, 'spiky': 0.42}
    """
    blocks: dict[str, list[Tensor]] = {}
    for name, evidence in found.items():
        blocks.setdefault(_block(name), []).append(wanda(evidence).flatten())
    scores = {block: torch.cat(parts) for block, parts in blocks.items()}
    share = {b: (score > OUTLIER * score.mean()).double().mean().item() for b, score in scores.items()}
    total = sum(score.numel() for score in scores.values())
    centre = sum(share[b] * score.numel() for b, score in scores.items()) / total
    span = max(share.values()) - min(share.values())
    gain = {b: 2 * SPREAD * (d - centre) / span if span else 0.0 for b, d in share.items()}
    room = min([1.0, *(((sparsity if g > 0 else 1 - sparsity) / abs(g)) for g in gain.values() if g)])
    return {name: sparsity - room * gain[_block(name)] for name in found}


def _block(name: str) -> str:
    numbered = re.match(r"(?:.*?\.)?\d+(?=\.)", name)
    return numbered[0] if numbered else name
