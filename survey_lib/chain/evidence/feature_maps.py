"""Feature maps of channel groups, taken where the next layer reads them: at the input of a consumer.

There they have passed norm and activation, and concatenation and flattening are exact. Of several consumers
the one that reads the most positions is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd

from survey_lib.chain.coupling.groups import ChannelGroup, Slice
from survey_lib.chain.evidence import weights as observe
from survey_lib.chain.evidence.base import copied

Reader = tuple[str, Slice]  # module name, and the slice of its weight that meets the group's channels


def feature_maps(
    model: nn.Module,
    groups: Iterable[ChannelGroup],
    batches: list,
    loss: observe.Loss | None = None,
    gradients: bool = False,
) -> dict[str, Tensor]:
    """`{group: (examples, channels, positions...)}`, the maps or ∂L/∂maps of all batches.

    Works on a copy in eval mode. Raises ValueError for a group that no Linear or convolution module reads,
    and for batches whose maps differ in size.
    """
    with torch.random.fork_rng(), torch.set_grad_enabled(gradients):
        readers = _readers(copied(model), groups, batches[0][0])
        subject, seen = copied(model).requires_grad_(), {name: [] for name in readers}
        for name, (layer, part) in readers.items():
            _watch(subject.get_submodule(layer), part, _record(seen[name], gradients))
        for x, y in batches:
            output = observe.call(subject, x)
            if gradients:
                (loss or F.cross_entropy)(output, y).backward()
    return {name: _joined(name, parts) for name, parts in seen.items()}


def picked(layer: nn.Module, x: Tensor, part: Slice) -> Tensor:
    """The group's channels of a layer's input: (examples, channels, positions...).

    >>> x = torch.arange(6.0).view(1, 6)
    >>> picked(nn.Linear(6, 1), x, Slice("weight", 1, [[0, 1, 2], [3, 4, 5]])).tolist()
    [[[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]]
    """
    convolution = isinstance(layer, _ConvNd)
    x = x if not convolution or x.dim() == layer.weight.dim() else x[None]
    index = torch.as_tensor(part.index, device=x.device)
    if convolution and not layer.transposed and layer.groups > 1:  # the weight's input axis is within a group
        starts = torch.arange(layer.groups, device=x.device) * layer.weight.shape[1]
        index = (index[:, None, :] + starts[:, None]).flatten(1)
    taken = x.movedim(1 if convolution else -1, 1)[:, index]  # (examples, channels, k, positions...)
    return taken[:, :, 0] if index.shape[1] == 1 else taken


def _watch(layer: nn.Module, part: Slice, record: Callable[[Tensor, Callable], None]) -> None:
    layer.register_forward_pre_hook(
        lambda module, inputs: record(inputs[0], lambda x: picked(module, x, part))
    )


def _record(seen: list, gradients: bool) -> Callable[[Tensor, Callable], None]:
    def maps(x: Tensor, pick: Callable[[Tensor], Tensor]) -> None:
        seen.append(pick(x.detach()))

    def grads(x: Tensor, pick: Callable[[Tensor], Tensor]) -> None:
        slot = len(seen)  # backward visits the calls in another order
        seen.append(None)
        x.register_hook(lambda gradient: seen.__setitem__(slot, pick(gradient)))

    return grads if gradients else maps


def _readers(model: nn.Module, groups: Iterable[ChannelGroup], x) -> dict[str, Reader]:
    """The consumer of each group that reads it at the most positions."""
    readers: dict[str, Reader] = {}
    most: dict[str, int] = {}

    def candidate(group: str, layer: str, part: Slice) -> None:
        def compare(x: Tensor, pick: Callable[[Tensor], Tensor]) -> None:
            size = pick(x.detach()).numel()
            if size > most.get(group, 0):
                most[group], readers[group] = size, (layer, part)

        _watch(model.get_submodule(layer), part, compare)

    for group in groups:
        for part in group.consumers:
            layer, _, tensor = part.tensor.rpartition(".")
            if tensor == "weight" and isinstance(model.get_submodule(layer), nn.Linear | _ConvNd):
                candidate(group.name, layer, part)
    with torch.no_grad():
        observe.call(model, x)
    unread = [group.name for group in groups if group.name not in readers]
    if unread:
        raise ValueError(f"no Linear or convolution module reads {', '.join(unread)}, so their maps are not "
                         "seen; leave them out with protect=")  # fmt: skip
    return readers


def _joined(name: str, parts: list[Tensor]) -> Tensor:
    if len({part.shape[1:] for part in parts}) > 1:
        sizes = sorted({tuple(part.shape[1:]) for part in parts})
        raise ValueError(f"maps of {name} have sizes {sizes}; give batches of one image or text size")
    return torch.cat(parts)
