"""What can be observed of a model on batches: gradients, the inputs of layers, and SynFlow's flow.

Every observer takes the model (a copy made for it), the weights by name and the batches as (x, y), and
returns one tensor for each weight. `evidence.collect` is the way in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from survey_lib.chain.checks import described, reason
from survey_lib.chain.evidence.unfold import input_columns
from survey_lib.chain.masks import EMBEDDINGS

Loss = Callable[[Tensor, Tensor], Tensor]
Weights = dict[str, Tensor]

GRASP_TEMPERATURE = 200.0  # the reference implementation of wang2020picking divides the logits by it
FISHER_BLOCK = 50  # weights of a block in kurtic2022optimal
INPUTS = ("act_norm", "gram")


def call(model: nn.Module, x: Tensor | tuple | dict):
    """The model's output for a tensor, a tuple of arguments or a dict of keyword arguments.

    Parameters
    ----------
    model : nn.Module
        The network.
    x : Tensor | tuple | dict
        A tensor, a tuple of arguments or a dict of keyword arguments.
    """
    named, positional = (x, ()) if isinstance(x, dict) else ({}, x if isinstance(x, tuple | list) else (x,))
    fast = torch.backends.mha.get_fastpath_enabled()
    # The fast path runs an encoder layer as one operation, without its layers
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        return model(*positional, **named)
    except torch.OutOfMemoryError:
        raise
    except (AttributeError, RuntimeError, TypeError) as error:
        raise ValueError(
            f"the model does not run on a batch of {described(x)}: {reason(error)}. A batch is (input, target), and "
            "an input a tensor, a tuple or a dict: two inputs without targets are ((first, second), None)"
        ) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def over(x, change: Callable[[Tensor], Tensor]):
    """`change` applied to every tensor of a model input.

    Parameters
    ----------
    x
        A tensor, a tuple of arguments or a dict of keyword arguments.
    change : Callable[[Tensor], Tensor]
        Change of one tensor.
    """
    if isinstance(x, dict):
        return {key: over(value, change) for key, value in x.items()}
    if isinstance(x, tuple | list):
        return tuple(over(value, change) for value in x)
    return change(x) if isinstance(x, Tensor) else x


def loss_of(loss: Loss | None, output, target: Tensor) -> Tensor:
    """loss(output, target), or the cross-entropy of the scores in what the model returned.

    Parameters
    ----------
    loss : Loss | None
        loss(output, target); cross-entropy if left out.
    output : tensor or object
        What the model returned.
    target : Tensor
        Targets.

    Raises
    ------
    ValueError
        For a loss that is not one number or fails, as for targets that are no classes.
    """
    scores = output if loss else class_scores(output)
    try:
        return (loss or F.cross_entropy)(scores, target).reshape(())
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            "a loss is one number, and cross-entropy takes class numbers from 0, fewer than there are scores; got "
            f"{described(scores)} and target {described(target)}: {reason(error)}"
        ) from error


def class_scores(output) -> Tensor:
    """The output itself or its `logits`; ValueError for anything else."""
    found = getattr(output, "logits", output)
    if not isinstance(found, Tensor):
        raise ValueError(
            f"the model returned a {type(output).__name__}, neither class scores nor an object with `logits`; "
            "wrap the model so that it returns its scores"
        )
    return found


def pairs(batches: Iterable) -> list[tuple]:
    """Batches as (x, y), with y None where x stands alone."""
    return [tuple(b) if isinstance(b, tuple | list) and len(b) == 2 else (b, None) for b in batches]


def singles(batches: Iterable) -> Iterator[tuple]:
    """The examples of (x, y) batches one by one, as batches of one."""
    for x, y in batches:
        for i in range(len(y)):
            yield over(x, lambda t, i=i: t[i : i + 1]), y[i : i + 1]


def mean(found: Iterable[Weights]) -> Weights:
    """Entry-wise mean of dicts of tensors."""
    total, count = {}, 0
    for values in found:
        total = {name: total.get(name, 0) + value for name, value in values.items()}
        count += 1
    return {name: value / count for name, value in total.items()}


def grad(model: nn.Module, weights: Weights, batches: list, loss: Loss | None) -> Weights:
    """Mean over mini-batches of ∂L/∂w.

    Parameters
    ----------
    model : nn.Module
        The network.
    weights : Weights
        Parameters of the model.
    batches : list
        (input, target) pairs.
    loss : Loss | None
        loss(output, target); cross-entropy if left out.
    """
    return mean(gradients(model, weights, batches, loss))


def grad_sq(model: nn.Module, weights: Weights, batches: list, loss: Loss | None) -> Weights:
    """Mean over mini-batches of (∂L/∂w)².

    Parameters
    ----------
    model : nn.Module
        The network.
    weights : Weights
        Parameters of the model.
    batches : list
        (input, target) pairs.
    loss : Loss | None
        loss(output, target); cross-entropy if left out.
    """
    return mean(_squares(gradients(model, weights, batches, loss)))


def example_grad_sq(model: nn.Module, weights: Weights, batches: list, loss: Loss | None) -> Weights:
    """Mean over single examples of (∂L/∂w)², the empirical Fisher diagonal.

    Parameters
    ----------
    model : nn.Module
        The network.
    weights : Weights
        Parameters of the model.
    batches : list
        (input, target) pairs.
    loss : Loss | None
        loss(output, target); cross-entropy if left out.
    """
    return mean(_squares(gradients(model, weights, singles(batches), loss)))


def hess_grad(model: nn.Module, weights: Weights, batches: list, loss: Loss | None) -> Weights:
    """H·g = ∇(gᵀ ∇L) with g, the mean gradient, held constant: two passes over the batches.

    Parameters
    ----------
    model : nn.Module
        The network.
    weights : Weights
        Parameters of the model.
    batches : list
        (input, target) pairs.
    loss : Loss | None
        loss(output, target); cross-entropy if left out.
    """
    loss = loss or (lambda output, y: loss_of(None, class_scores(output) / GRASP_TEMPERATURE, y))
    average = grad(model, weights, batches, loss)

    def products() -> Iterator[Weights]:
        for gradient in gradients(model, weights, batches, loss, create_graph=True):
            inner = sum((gradient[name] * average[name]).sum() for name in weights)
            yield _differentiate(inner, weights)

    with sdpa_kernel(SDPBackend.MATH):  # the other kernels have no second derivative
        return mean(products())


def fisher(model: nn.Module, weights: Weights, batches: list, loss: Loss | None) -> Weights:
    """Mean over single examples of g gᵀ, in blocks of FISHER_BLOCK neighbours of the flat weight, float64.

    Parameters
    ----------
    model : nn.Module
        The network.
    weights : Weights
        Parameters of the model.
    batches : list
        (input, target) pairs.
    loss : Loss | None
        loss(output, target); cross-entropy if left out.
    """
    total, count = {}, 0
    for batch in batches:
        found = list(gradients(model, weights, singles([batch]), loss))
        for name in weights:
            rows = in_blocks(torch.stack([gradient[name].flatten() for gradient in found]).double())
            total[name] = total.get(name, 0) + rows.permute(1, 2, 0) @ rows.permute(1, 0, 2)
        count += len(found)
    return {name: value / count for name, value in total.items()}


def in_blocks(flat: Tensor) -> Tensor:
    """(..., n) as (..., blocks, FISHER_BLOCK), the last block filled up with zeros."""
    return F.pad(flat, (0, -flat.shape[-1] % FISHER_BLOCK)).unflatten(-1, (-1, FISHER_BLOCK))


GRADIENTS = {
    "grad": grad,
    "grad_sq": grad_sq,
    "example_grad_sq": example_grad_sq,
    "hess_grad": hess_grad,
    "fisher": fisher,
}
NEEDS = (*GRADIENTS, *INPUTS, "flow")


def flow(model: nn.Module, weights: Weights, x: Tensor | tuple | dict) -> Weights:
    """`∂R/∂|w|`: every parameter and buffer made positive, one input of ones, float64 (tanaka2020pruning).

    Parameters
    ----------
    model : nn.Module
        The network.
    weights : Weights
        Parameters of the model.
    x : Tensor | tuple | dict
        An input, for its shape.
    """
    model.double()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.abs_()
    positive = {name: model.get_parameter(name).requires_grad_() for name in weights}
    ones = over(
        x, lambda t: torch.ones_like(t[:1], dtype=torch.float64 if t.is_floating_point() else t.dtype)
    )
    return _differentiate(call(model, ones).sum(), positive)


@torch.no_grad()
def inputs(model: nn.Module, weights: Weights, batches: list, need: str) -> Weights:
    """‖x_j‖₂ of each input feature (`act_norm`) or X Xᵀ (`gram`) of each layer.

    Parameters
    ----------
    model : nn.Module
        The network.
    weights : Weights
        Parameters of the model.
    batches : list
        (input, target) pairs.
    need : str
        act_norm or gram.
    """
    total: Weights = {}

    def watch(name: str) -> None:
        def observe(layer: nn.Module, arguments: tuple) -> None:
            x = arguments[0]
            for part in x.split(16) if x.dim() >= weights[name].dim() else (x,):  # bounds unfolded memory
                columns = input_columns(layer, part).double()  # (groups, k, positions)
                summed = columns.square().sum(-1) if need == "act_norm" else columns @ columns.mT
                total[name] = total.get(name, 0) + summed

        for layer in owners[id(weights[name])]:
            layer.register_forward_pre_hook(observe)

    owners: dict[int, list[nn.Module]] = {id(weight): [] for weight in weights.values()}
    for layer in model.modules():  # a shared weight has several owners; an embedding multiplies nothing
        own = () if isinstance(layer, EMBEDDINGS) else layer.parameters(recurse=False)
        for key in owners.keys() & set(map(id, own)):
            owners[key].append(layer)
    for name in weights:
        watch(name)
    for x, _ in batches:
        call(model, x)
    missing = [name for name in weights if name not in total]
    if missing:
        raise ValueError(
            f"no input of {', '.join(missing)} was seen, so {need!r} is unknown; leave the layer out"
        )
    return {name: _fit(total[name], weights[name], need) for name in weights}


def _fit(total: Tensor, weight: Tensor, need: str) -> Tensor:
    """Sums by group in the shape that `Evidence` promises."""
    if need == "gram":
        return total[0] if len(total) == 1 else total
    norm = total.sqrt().to(weight.dtype)
    if len(norm) == 1:
        return norm.view(weight.shape[1:])
    return norm.repeat_interleave(len(weight) // len(norm), 0).view(weight.shape)


def gradients(
    model: nn.Module, weights: Weights, batches: Iterable, loss: Loss | None, create_graph: bool = False
) -> Iterator[Weights]:
    """∂L/∂w of each mini-batch in turn.

    Parameters
    ----------
    model : nn.Module
        The network.
    weights : Weights
        Parameters of the model.
    batches : Iterable
        (input, target) pairs.
    loss : Loss | None
        loss(output, target); cross-entropy if left out.
    create_graph : bool, default False
        So that the gradients can be differentiated again.
    """
    for x, y in batches:
        yield _differentiate(loss_of(loss, call(model, x), y), weights, create_graph)


def _differentiate(value: Tensor, weights: Weights, create_graph: bool = False) -> Weights:
    if not value.requires_grad:
        raise ValueError("the loss has no gradient: the forward or the loss detaches, or runs under no_grad")
    gradient = torch.autograd.grad(
        value, list(weights.values()), create_graph=create_graph, allow_unused=True, materialize_grads=True
    )
    return dict(zip(weights, gradient, strict=True))


def _squares(gradients: Iterator[Weights]) -> Iterator[Weights]:
    return ({name: g.square() for name, g in gradient.items()} for gradient in gradients)
