"""Run a model for measuring: eval mode, no gradients, and everything put back, exceptions included."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from survey_lib.chain import masks as masking
from survey_lib.chain.inputs import arguments, check_runnable, leaves, untouched, unwrap, whole

PRUNED_FROM = 1e-3  # share of zeros from which on a weight counts as pruned
Example = Tensor | tuple | list | Mapping


@contextmanager
def quiet(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients inside; the model and the random state as found after."""
    with torch.random.fork_rng(), torch.no_grad(), untouched(model):
        model.eval()
        yield


def samples_of(model: nn.Module, example: Example, output: object = None, samples: int | None = None) -> int:
    """Samples in the example: axis 0, or axis 1 of a bare layer that is not `batch_first`.

    Parameters
    ----------
    model : nn.Module
        The network.
    example : Example
        An input of its forward.
    output : object, optional
        What the model returned for it, if that is known.
    samples : int, optional
        What the caller says, which is checked and returned.

    Raises
    ------
    ValueError
        Where that is not clear (case B73): inputs that differ there or are vectors, a layer inside that
        has its batch on axis 1, an output of the model that has no such axis.
    """
    check_runnable(unwrap(model))
    if samples is not None:
        whole(samples=samples)
        return samples
    inputs = list(leaves(arguments(example)))
    recurrent = (nn.RNNBase, nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
    if isinstance(model, recurrent):
        if inputs[0].dim() == 2:
            return 1
        axis = 0 if getattr(model, "batch_first", True) else 1
        return inputs[0].shape[axis]
    found = {len(x) if x.dim() else 0 for x in inputs}
    made = {len(x) for x in leaves(output) if x.dim()}
    second = [name for name, module in model.named_modules() if not getattr(module, "batch_first", True)]
    doubts = {
        "the inputs have different first axes": len(found) != 1 or found == {0},
        "no input has more than one axis": all(x.dim() < 2 for x in inputs),
        f"{second[:1]} takes its batch on axis 1": second,
        f"the first axis is {found} long in the input and {made} in the output": made and not found <= made,
    }
    why = [text for text, doubt in doubts.items() if doubt]
    if why:
        raise ValueError(f"how many samples are in the example is not clear: {why[0]}; give samples=")
    return found.pop()


def has_zeros(weight: Tensor) -> bool:
    """More zeros than the stray ones of a trained weight."""
    return weight.numel() - int(weight.count_nonzero()) > PRUNED_FROM * weight.numel()


def weight_names(
    model: nn.Module, used: Mapping[str, Tensor], masks: Mapping[str, Tensor] | None = None
) -> list[str]:
    """Which of the weights of `effective` are prunable or masked.

    A weight that is also an embedding is among them once it has zeros.

    Parameters
    ----------
    model : nn.Module
        The network.
    used : Mapping[str, Tensor]
        What `effective` returned.
    masks : Mapping[str, Tensor], optional
        {tensor name: bool}.
    """
    known = masking.tensors(model)
    found = {id(p) for p in masking.prunable(model).values()} | {id(known[name]) for name in masks or {}}
    late = {id(p) for p in masking.prunable(model, tied=True).values()}
    pruned = found | {id(known[name]) for name, weight in used.items() if has_zeros(weight)} & late
    return [name for name in used if id(known[name]) in pruned]


def effective(model: nn.Module, masks: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Parameters as the forward uses them: masks applied, hooks of `torch.nn.utils.prune` resolved.

    Parameters
    ----------
    model : nn.Module
        The network.
    masks : Mapping[str, Tensor], optional
        {tensor name: bool}, True = kept.

    Returns
    -------
    dict[str, Tensor]
        {parameter name: tensor}, shared ones once.

    Examples
    --------
    >>> int(effective(nn.Linear(2, 1), {"weight": torch.tensor([[True, False]])})["weight"].count_nonzero())
    1
    """
    masking.check(model, masks or {})
    known, buffers = masking.tensors(model), dict(model.named_buffers())
    removed = {id(known[name]): mask for name, mask in (masks or {}).items()}  # shared weights: any name
    used = {}
    for name, parameter in model.named_parameters():
        mask = removed.get(id(parameter), buffers.get(name.removesuffix("_orig") + "_mask"))
        weight = parameter.detach()
        used[name] = weight if mask is None else weight * mask.to(weight)
    return used
