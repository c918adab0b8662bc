"""Feature maps of the producers of channel groups, where papers read them: after norm and activation.

From a layer's output the map is followed through norms, dropout, concatenation and one addition (a residual
block's) to the first activation: what it returns is the map, before any pooling, flattening or further layer.
Without an activation on the way it is read as far as it can be followed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode

from survey_lib.chain.coupling.groups import Slice
from survey_lib.chain.evidence import weights as observe
from survey_lib.chain.evidence.base import copied

ACTIVATIONS = set(
    "relu relu6 hardtanh leaky_relu prelu elu selu celu gelu silu mish hardswish softplus tanh".split()
)
SAME = set("batch_norm group_norm instance_norm layer_norm rms_norm dropout dropout2d".split())
JOINS = {"cat", "concat", "concatenate"}
Key = tuple[str, str]  # group name, producer


def feature_maps(
    model: nn.Module,
    parts: Mapping[Key, Slice],
    batches: list,
    loss: observe.Loss | None = None,
    gradients: bool = False,
) -> dict[Key, Tensor]:
    """`{(group, producer): (examples, channels, positions...)}`, the maps or ∂L/∂maps of all batches.

    Works on a copy in eval mode. Producers that are not called as layers (projections inside attention or
    recurrent layers) have no map.

    Parameters
    ----------
    model : nn.Module
        The network.
    parts : Mapping[Key, Slice]
        The axis of each producer's weight that writes its group.
    batches : list
        (input, target) pairs.
    loss : observe.Loss, optional
        loss(output, target); cross-entropy if left out.
    gradients : bool, default False
        ∂L/∂maps in place of the maps.

    Raises
    ------
    ValueError
        For batches whose maps differ in size.
    """
    subject, maps = copied(model), _Following(gradients)
    for key, part in parts.items():
        subject.get_submodule(key[1]).register_forward_hook(partial(maps.start, key, part))
    seen: dict[Key, list[Tensor]] = {}
    with torch.random.fork_rng(), torch.set_grad_enabled(gradients):
        subject.requires_grad_(gradients)
        for x, y in batches:
            with maps:
                output = observe.call(subject, x)
            if gradients:
                observe.loss_of(loss, output, y).backward()
            for key, value in maps.taken():
                seen.setdefault(key, []).append(value)
    return {key: _joined(key[1], parts) for key, parts in seen.items()}


class _Map:
    """The map of one call of a producer, or the gradient at it, as far as it was followed."""

    def __init__(self, key: Key, axis: int, index: Tensor, gradients: bool):
        self.key, self.axis, self.index, self.gradients = key, axis, index, gradients
        self.value, self.hook, self.done = None, None, False

    def take(self, x: Tensor, offset: int, done: bool = False) -> None:
        """Read the map at `x`, where its channels lie behind `offset` others, instead of earlier."""
        self.done = done
        if self.hook:
            self.hook.remove()
        if self.gradients:
            self.hook = x.register_hook(partial(self.keep, offset))
        else:
            self.keep(offset, x.detach())

    def keep(self, offset: int, x: Tensor) -> None:
        """(examples, channels, k, positions...), without the k where a channel is one row."""
        x = x if x.dim() > -self.axis else x[None]
        taken = x.movedim(self.axis, 1)[:, self.index + offset]
        self.value = taken[:, :, 0] if self.index.shape[1] == 1 else taken


@dataclass(frozen=True)
class _Place:
    """A tensor that carries a map: behind how many channels of a concatenation, and whether past an addition."""

    map: _Map
    offset: int = 0
    added: bool = False


class _Following(TorchFunctionMode):
    """Follows the outputs of producers through the functions that are called while it is active."""

    def __init__(self, gradients: bool):
        super().__init__()
        self.gradients, self.maps, self.places = gradients, [], {}

    def start(self, key: Key, part: Slice, layer: nn.Module, inputs: tuple, output: Tensor) -> None:
        """A forward hook: a producer was called."""
        convolution = isinstance(layer, _ConvNd)
        axis, index = 1 - layer.weight.dim() if convolution else -1, torch.as_tensor(part.index)
        # The weight's output axis is within a group
        if convolution and layer.transposed and layer.groups > 1:
            starts = torch.arange(layer.groups) * layer.weight.shape[1]
            index = (index[:, None, :] + starts[:, None]).flatten(1)
        if isinstance(output, Tensor) and output.shape[axis] > index.max():
            found = _Map(key, axis, index.to(output.device), self.gradients)
            self.maps.append(found)
            self._put(output, [_Place(found)])
            found.take(output, 0)

    def taken(self) -> Iterator[tuple[Key, Tensor]]:
        """The maps since the last call, with their keys."""
        yield from ((found.key, found.value) for found in self.maps if found.value is not None)
        self.maps, self.places = [], {}

    def __torch_function__(self, function, types, arguments=(), options=None):
        output, name = function(*arguments, **(options or {})), getattr(function, "__name__", "").rstrip("_")
        if isinstance(output, Tensor) and self.places:
            if name in JOINS:
                self._put(output, list(self._joined(arguments, options or {}, output)))
            elif name == "add":
                self._put(output, [place for x in arguments[:2] for place in self._added(x, output)])
            elif name in SAME | ACTIVATIONS and arguments:
                self._put(output, self._at(arguments[0]))
            else:
                return output
            for place in self._at(output):
                place.map.take(output, place.offset, name in ACTIVATIONS)
        return output

    def _at(self, x) -> list[_Place]:
        return [place for place in self.places.get(id(x), (None, []))[1] if not place.map.done]

    def _put(self, x: Tensor, places: list[_Place]) -> None:
        if places:
            self.places[id(x)] = x, places  # the tensor is held, so that no other gets its id

    def _added(self, x, output: Tensor) -> list[_Place]:
        places = self._at(x) if isinstance(x, Tensor) and x.shape == output.shape else []
        return [replace(place, added=True) for place in places if not place.added]

    def _joined(self, arguments: tuple, options: dict, output: Tensor) -> Iterator[_Place]:
        axis = options.get("dim", arguments[1] if len(arguments) > 1 else 0)
        axis, before = axis - output.dim() if axis >= 0 else axis, 0
        for part in arguments[0]:
            yield from (replace(p, offset=p.offset + before) for p in self._at(part) if p.map.axis == axis)
            before += part.shape[axis]


def _joined(name: str, parts: list[Tensor]) -> Tensor:
    if len({part.shape[1:] for part in parts}) > 1:
        sizes = sorted({tuple(part.shape[1:]) for part in parts})
        raise ValueError(f"maps of {name} have sizes {sizes}; give batches of one image or text size")
    return torch.cat(parts)
