"""What was observed of one layer, or of one producer layer of a channel group.

`collect` runs a copy of the model on batches, so the caller's model stays exactly as found: weights, buffers,
mode, flags, hooks and gradients, also when the forward raises; the random state is put back (rule 2).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from survey_lib.chain.evidence import weights as observe
from survey_lib.chain.inputs import duplicate, layer_seed, unwrap

# What an evidence field costs to observe, most expensive last
COSTS = {
    "weights only": {"gamma", "slices", "energy"},
    "forward passes": {"act_norm", "act_in", "act_out", "gram", "consumers"},
    "forward and backward passes": {"grad", "grad_sq", "flow", "filter_saliency", "slices_grad", "act_grad"},
    "a backward pass an example, or two a batch": {"example_grad_sq", "fisher", "gate_grad", "hess_grad"},
}
BACKWARD = COSTS["forward and backward passes"] | COSTS["a backward pass an example, or two a batch"]
OF_THE_LOSS = BACKWARD - {"flow"}  # which goes back from the output itself


@dataclass(frozen=True)
class Consumer:
    """A layer that reads a channel group, in a network some of whose other groups may be pruned already.

    Attributes
    ----------
    tensor : str
        Name of its weight.
    weight : Tensor
        (channels, n, out): the n = k·kh·kw columns that meet each channel.
    gram : Tensor
        X Xᵀ of what it reads, (channels·n, channels·n) in float64, in the order of `weight`.
    cross : Tensor
        X Dᵀ, D what it reads in the dense network.
    mean : Tensor
        (channels·n,) mean of X over positions; zeros if the layer has no bias.
    dense_mean : Tensor
        The same of D.
    count : int
        Number of positions.
    level : Tensor | None
        (channels·n,) root of Σ over examples of (mean of `|X|` over the example's positions)².
    """

    tensor: str
    weight: Tensor
    gram: Tensor
    cross: Tensor
    mean: Tensor
    dense_mean: Tensor
    count: int
    level: Tensor | None = None


@dataclass(frozen=True)
class Evidence:
    """Observations of one layer's weight, or of the rows of one producer of a channel group.

    Methods that score weights read the first, methods that score channels the second: axis 0 is then the
    group's channel, in the group's order.

    Attributes
    ----------
    name : str
        Parameter name ("conv1.weight"), or "group:layer".
    weight : Tensor
        The weight, (out, in, kh, kw) or (out, in); for groups (channels, ...) the rows.
    seed : int
        A seed of its own for each layer, for methods that draw.
    grad : Tensor | None
        Mean over mini-batches of ∂L/∂w.
    grad_sq : Tensor | None
        Mean over mini-batches of (∂L/∂w)².
    example_grad_sq : Tensor | None
        Mean over single examples of (∂L/∂w)²: the empirical Fisher diagonal.
    fisher : Tensor | None
        (blocks, 50, 50) mean over single examples of g gᵀ, g 50 neighbours of the flat ∂L/∂w: the
        empirical Fisher matrix in blocks, float64; the last block is filled up with zeros.
    filter_saliency : Tensor | None
        (channels,) mean over mini-batches of (Σ over the filter of g·w)².
    hess_grad : Tensor | None
        H·g, the Hessian times the mean gradient.
    act_norm : Tensor | None
        ‖x_j‖₂ of each input feature over all tokens or positions, broadcasts against `weight`: (in,) or
        (in, kh, kw); full weight shape for grouped convolutions.
    gram : Tensor | None
        X Xᵀ of the layer's inputs, (in·kh·kw, in·kh·kw) in float64; grouped convolutions have one for
        each group, (groups, k, k).
    flow : Tensor | None
        `∂R/∂|w|` of SynFlow's `R = 1ᵀ Π|W_l| 1`, in float64.
    act_in : Tensor | None
        (examples, channels, positions...) what a block reads; `act_out` then is what it returns.
    act_out : Tensor | None
        (examples, channels, positions...) a producer's maps after norm and activation, before pooling.
    act_grad : Tensor | None
        ∂L/∂act_out, same shape.
    gamma : Tensor | None
        (k, channels) scales of the k batch norms of the group.
    slices : Tensor | None
        (channels, n) every slice of every tensor of the group, side by side; biases left out.
    energy : Tensor | None
        (channels,) Σ of the squares of `slices`.
    slices_grad : Tensor | None
        ∂L/∂slices, mean over mini-batches.
    gate_grad : Tensor | None
        (channels,) mean over examples of `|∂L/∂ξ|`, ξ a gate on the channel where it is read.
    consumers : tuple[Consumer, ...]
        The layers that read the group, for methods that reconstruct their outputs.
    """

    name: str
    weight: Tensor
    seed: int = 0
    grad: Tensor | None = None
    grad_sq: Tensor | None = None
    example_grad_sq: Tensor | None = None
    fisher: Tensor | None = None
    filter_saliency: Tensor | None = None
    hess_grad: Tensor | None = None
    act_norm: Tensor | None = None
    gram: Tensor | None = None
    flow: Tensor | None = None
    act_in: Tensor | None = None
    act_out: Tensor | None = None
    act_grad: Tensor | None = None
    gamma: Tensor | None = None
    slices: Tensor | None = None
    energy: Tensor | None = None
    slices_grad: Tensor | None = None
    gate_grad: Tensor | None = None
    consumers: tuple[Consumer, ...] = ()


def collect(
    model: nn.Module,
    names: Iterable[str],
    needs: tuple[str, ...] = (),
    batches: Iterable | None = None,
    loss: observe.Loss | None = None,
    seed: int = 0,
    example: Tensor | tuple | dict | None = None,
    batch_statistics: bool = False,
) -> dict[str, Evidence]:
    """Observe the named weights of a model on batches without changing the model.

    The copy that is observed runs in eval mode. `flow` needs only an `example` input (or the first batch).

    Parameters
    ----------
    model : nn.Module
        The network.
    names : Iterable[str]
        Names of weights.
    needs : tuple[str, ...], default ()
        Fields of Evidence to fill beside `weight`.
    batches : Iterable, optional
        (x, y), or x alone where no gradient is needed; x is a tensor, a tuple of arguments or a dict of
        keyword arguments.
    loss : observe.Loss, optional
        loss(output, y); cross-entropy by default.
    seed : int, default 0
        Seed of what is drawn at random.
    example : Tensor | tuple | dict, optional
        An input of its forward.
    batch_statistics : bool, default False
        Batch norms use the batch in place of their running statistics, which say nothing before training
        (SNIP, GraSP).

    Raises
    ------
    ValueError
        For an unknown need, missing batches or targets, or a layer whose input is not seen.

    Examples
    --------
    >>> layer, x = nn.Linear(2, 1, bias=False), torch.tensor([[3.0, 1.0], [4.0, 0.0]])
    >>> collect(layer, ["weight"], ("act_norm",), [x])["weight"].act_norm
    tensor([5., 1.])
    """
    if set(needs) == {"flow"} and example is not None:
        batches = [(example, None)]
    batches = data(needs, observe.NEEDS, batches)
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(seed)
        subject = copied(model, batch_statistics)
        weights = {name: subject.get_parameter(name).requires_grad_() for name in names}
        found = {need: observe.NEEDS[need](subject, weights, batches, loss) for need in needs}
    seen = {name: {need: found[need][name].detach() for need in needs} for name in weights}
    return {n: Evidence(n, w.detach(), layer_seed(seed, n), **seen[n]) for n, w in weights.items()}


def pairs(batches: Iterable) -> list[tuple]:
    """Batches as (x, y), with y None where x stands alone."""
    return [tuple(b) if isinstance(b, tuple | list) and len(b) == 2 else (b, None) for b in batches]


def data(needs: Iterable[str], known: Iterable[str], batches: Iterable | None) -> list[tuple]:
    """Batches as `pairs`, after a look whether they hold what is needed.

    Parameters
    ----------
    needs : Iterable[str]
        Fields of Evidence.
    known : Iterable[str]
        Those that can be collected.
    batches : Iterable | None
        (x, y), or x alone where no gradient is needed.

    Raises
    ------
    ValueError
        For an unknown need, and for batches or targets that are not there.
    """
    found = [] if batches is None else pairs(batches)
    for need in needs:
        if need not in known:
            raise ValueError(f"evidence {need!r} is unknown; what one can collect here is {', '.join(known)}")
        if not found and need not in COSTS["weights only"]:
            wanted = "example=input" if need == "flow" else "batches=[(x, y), ...]"
            raise ValueError(f"the method needs {need!r}, observed on data; pass {wanted}")
        if need in OF_THE_LOSS and any(y is None for _, y in found):
            raise ValueError(f"{need!r} is a gradient of the loss; pass batches of pairs (x, y)")
    return found


def copied(model: nn.Module, batch_statistics: bool = False) -> nn.Module:
    """A frozen copy to observe, in eval mode but for the batch norms if they are to use the batch.

    Parameters
    ----------
    model : nn.Module
        The network.
    batch_statistics : bool, default False
        Batch norms use the batch.
    """
    subject = duplicate(unwrap(model)).eval().requires_grad_(False)
    for layer in subject.modules():
        if isinstance(layer, _BatchNorm):
            layer.train(batch_statistics)
    return subject
