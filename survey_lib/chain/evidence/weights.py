"""What can be observed of a model on batches: gradients, the inputs of layers, and SynFlow's flow.

Every observer takes the model (a copy made for it), the weights by name and the batches as (x, y), and
returns one tensor for each weight. `evidence.collect` is the way in.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map_only

from survey_lib.chain.inputs import described, duplicate, reason
from survey_lib.chain.masks import EMBEDDINGS

Loss = Callable[[Tensor, Tensor], Tensor]
Weights = dict[str, Tensor]

GRASP_TEMPERATURE = 200.0  # the reference implementation of wang2020picking divides the logits by it
FISHER_BLOCK = 50  # weights of a block in kurtic2022optimal


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
        why = f"the model does not run on a batch of {described(x)}: {reason(error)}"
        form = "a tensor, a tuple or a dict: two inputs without targets are ((first, second), None)"
        raise ValueError(f"{why}. A batch is (input, target), and an input {form}") from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


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
        rule = (
            "a loss is one number, and cross-entropy takes class numbers from 0, fewer than there are scores"
        )
        got = f"{described(scores)} and target {described(target)}: {reason(error)}"
        raise ValueError(f"{rule}; got {got}") from error


def class_scores(output) -> Tensor:
    """The output itself or its `logits`; ValueError for anything else."""
    found = getattr(output, "logits", output)
    if not isinstance(found, Tensor):
        kind = type(output).__name__
        raise ValueError(f"the model returned a {kind}, neither class scores nor `logits`; wrap the model")
    return found


def singles(batches: Iterable) -> Iterator[tuple]:
    """The examples of (x, y) batches one by one, as batches of one."""
    for x, y in batches:
        for i in range(len(y)):
            yield tree_map_only(Tensor, lambda t, i=i: t[i : i + 1], x), y[i : i + 1]


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
    with sdpa_kernel(SDPBackend.MATH):  # the other kernels have no second derivative
        found = gradients(model, weights, batches, loss, create_graph=True)
        inner = (sum((gradient[name] * average[name]).sum() for name in weights) for gradient in found)
        return mean(_differentiate(value, weights) for value in inner)


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


def flow(model: nn.Module, weights: Weights, batches: list, loss: Loss | None) -> Weights:
    """`∂R/∂|w|`: every parameter and buffer made positive, one input of ones, float64 (tanaka2020pruning).

    Parameters
    ----------
    model : nn.Module
        The network.
    weights : Weights
        Parameters of the model.
    batches : list
        (input, target) pairs; the first says what shape an input has.
    loss : Loss | None
        Not looked at.
    """
    model = duplicate(model).eval().double()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.abs_()
    positive = {name: model.get_parameter(name) for name in weights}

    def ones(like: Tensor) -> Tensor:
        return torch.ones_like(like[:1], dtype=torch.float64 if like.is_floating_point() else like.dtype)

    return _differentiate(call(model, tree_map_only(Tensor, ones, batches[0][0])).sum(), positive)


def act_norm(model: nn.Module, weights: Weights, batches: list, loss: Loss | None) -> Weights:
    """‖x_j‖₂ of each input feature of each layer.

    Parameters
    ----------
    model : nn.Module
        The network.
    weights : Weights
        Parameters of the model.
    batches : list
        (input, target) pairs.
    loss : Loss | None
        Not looked at.
    """

    def shaped(norm: Tensor, weight: Tensor) -> Tensor:
        if len(norm) == 1:
            return norm.view(weight.shape[1:])
        return norm.repeat_interleave(len(weight) // len(norm), 0).view(weight.shape)

    total = _over_inputs(model, weights, batches, lambda columns: columns.square().sum(-1))
    return {name: shaped(total[name].sqrt().to(weight.dtype), weight) for name, weight in weights.items()}


def gram(model: nn.Module, weights: Weights, batches: list, loss: Loss | None) -> Weights:
    """X Xᵀ of what each layer reads, one for each group of a convolution.

    Parameters
    ----------
    model : nn.Module
        The network.
    weights : Weights
        Parameters of the model.
    batches : list
        (input, target) pairs.
    loss : Loss | None
        Not looked at.
    """
    total = _over_inputs(model, weights, batches, lambda columns: columns @ columns.mT)
    return {name: found[0] if len(found) == 1 else found for name, found in total.items()}


OBSERVERS = (grad, grad_sq, example_grad_sq, hess_grad, fisher, act_norm, gram, flow)
NEEDS = {observer.__name__: observer for observer in OBSERVERS}


def input_columns(layer: nn.Module, x: Tensor) -> Tensor:
    """Inputs X of a linear or convolution layer, (groups, k, positions), with k = in/groups · kh · kw.

    Group by group, `weight.flatten(1) @ X` is the layer's output without bias: a position is a token of a
    linear layer, a place of the kernel of a convolution (stride, padding and its mode, dilation, groups).

    Parameters
    ----------
    layer : nn.Module
        A linear or convolution layer.
    x : Tensor
        Its input.

    Examples
    --------
    >>> import torch
    >>> input_columns(nn.Conv2d(1, 1, 2), torch.arange(9.0).view(1, 1, 3, 3))[0, :, 0]
    tensor([0., 1., 3., 4.])
    """
    if isinstance(layer, nn.Linear):
        return x.reshape(-1, layer.in_features).mT[None]
    x = x if x.dim() == layer.weight.dim() else x[None]
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    x = F.pad(x, layer._reversed_padding_repeated_twice, mode=mode)
    flat = isinstance(layer, nn.Conv1d)
    sizes = (layer.kernel_size, layer.dilation, layer.stride)
    kernel, dilation, stride = ((1, *size) if flat else size for size in sizes)
    patches = F.unfold(x.unsqueeze(-2) if flat else x, kernel, dilation, 0, stride)
    # (examples, in·kh·kw, positions)
    return patches.movedim(1, 0).reshape(layer.groups, -1, patches.shape[0] * patches.shape[2])


@torch.no_grad()
def _over_inputs(
    model: nn.Module, weights: Weights, batches: list, product: Callable[[Tensor], Tensor]
) -> Weights:
    """Sum over batches of `product` of what each layer reads, as (groups, k, positions) in float64."""
    total: Weights = {}

    def observe(name: str, layer: nn.Module, arguments: tuple) -> None:
        x = arguments[0]
        for part in x.split(16) if x.dim() >= weights[name].dim() else (x,):  # bounds unfolded memory
            total[name] = total.get(name, 0) + product(input_columns(layer, part).double())

    for layer in model.modules():  # a shared weight has several owners; an embedding multiplies nothing
        own = [] if isinstance(layer, EMBEDDINGS) else list(map(id, layer.parameters(recurse=False)))
        for name in (name for name, weight in weights.items() if id(weight) in own):
            layer.register_forward_pre_hook(partial(observe, name))
    for x, _ in batches:
        call(model, x)
    missing = [name for name in weights if name not in total]
    if missing:
        raise ValueError(f"no input of {', '.join(missing)} was seen; leave the layer out")
    return total


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
