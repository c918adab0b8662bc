"""What the readers of channel groups read, as second moments: the evidence of methods that reconstruct."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from survey_lib.chain.coupling.groups import ChannelGroup, Slice
from survey_lib.chain.evidence import weights as observe
from survey_lib.chain.evidence.base import Consumer, copied

EXAMPLES = 16  # unfolded at once


def consumers(
    model: nn.Module, dense: nn.Module, groups: Iterable[ChannelGroup], batches: list
) -> dict[str, tuple[Consumer, ...]]:
    """The layers that read each group, with what they read in `model` (X) and in `dense` (D).

    Parameters
    ----------
    model : nn.Module
        A network whose other groups may be pruned already.
    dense : nn.Module
        The network before pruning.
    groups : Iterable[ChannelGroup]
        The groups whose readers are asked for.
    batches : list
        (input, target) pairs.

    Raises
    ------
    ValueError
        For a group that no ungrouped Linear or convolution layer reads.
    """
    parts = {group.name: [p for p in group.consumers if _observable(model, p)] for group in groups}
    bare = [name for name, found in parts.items() if not found]
    if bare:
        raise ValueError(f"no ungrouped layer reads {', '.join(bare)}; leave them out by protect=")
    names = dict.fromkeys(_layer(part) for found in parts.values() for part in found)
    layers = _layers(model, dense, list(names), batches)
    return {name: tuple(_of_channels(layers[_layer(p)], p) for p in found) for name, found in parts.items()}


@torch.no_grad()
def _layers(model: nn.Module, dense: nn.Module, names: list[str], batches: list) -> dict[str, Consumer]:
    """The named layers with all that they read: `weight` as in the layer, moments in the order of its columns."""
    subjects, total = [copied(model), copied(dense)], {}
    inputs: list[dict[str, list[Tensor]]] = [{name: [] for name in names} for _ in subjects]
    for subject, seen in zip(subjects, inputs, strict=True):
        for name in names:
            subject.get_submodule(name).register_forward_pre_hook(
                lambda _, given, seen=seen[name]: seen.extend(given[0].detach().clone().split(EXAMPLES))
            )
    for x, _ in batches:
        for subject in subjects:
            observe.call(subject, x)
        for name in names:
            layer = subjects[0].get_submodule(name)
            for pair in zip(*(seen[name] for seen in inputs), strict=True):
                mine, theirs = (observe.input_columns(layer, part)[0].double() for part in pair)
                level = mine.abs().view(len(mine), len(pair[0]), -1).mean(2).square().sum(1)
                sums = mine @ mine.mT, mine @ theirs.mT, mine.sum(1), theirs.sum(1), mine.shape[1], level
                total[name] = [a + b for a, b in zip(total.get(name, (0,) * 6), sums, strict=True)]
            for seen in inputs:
                seen[name].clear()
    missing = [name for name in names if name not in total]
    if missing:
        raise ValueError(f"no input of {', '.join(missing)} was seen; protect= what comes before")
    found = {}
    for name, (gram, cross, mean, dense_mean, count, level) in total.items():
        layer = model.get_submodule(name)
        means = [float(layer.bias is not None) * total / count for total in (mean, dense_mean)]
        weight = layer.weight.detach()
        found[name] = Consumer(f"{name}.weight", weight, gram, cross, *means, count, level.sqrt())
    return found


def _of_channels(layer: Consumer, part: Slice) -> Consumer:
    """What of the layer meets the channels of a group: (channels, n) columns, one after the other."""
    index, kernel = torch.as_tensor(part.index, device=layer.weight.device), layer.weight[0, 0].numel()
    columns = (index[:, :, None] * kernel + torch.arange(kernel, device=index.device)).flatten(1)
    flat = columns.flatten()
    squares = {name: getattr(layer, name)[flat][:, flat] for name in ("gram", "cross")}
    vectors = {name: getattr(layer, name)[flat] for name in ("mean", "dense_mean", "level")}
    return replace(layer, weight=layer.weight.flatten(1)[:, columns].movedim(0, -1), **squares, **vectors)


def _layer(part: Slice) -> str:
    return part.tensor.rpartition(".")[0]


def _observable(model: nn.Module, part: Slice) -> bool:
    layer = model.get_submodule(_layer(part))
    return isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d) and getattr(layer, "groups", 1) == 1
