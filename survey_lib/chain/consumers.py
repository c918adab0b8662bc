"""What the readers of channel groups read, as second moments: the evidence of methods that reconstruct."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from survey_lib.chain.coupling.groups import ChannelGroup, Slice
from survey_lib.chain.evidence import weights as observe
from survey_lib.chain.evidence.base import Consumer, copied
from survey_lib.chain.evidence.unfold import input_columns

EXAMPLES = 16  # unfolded at once
# X Xᵀ, X Dᵀ, the means of X and D, positions, level of X
Moments = tuple[Tensor, Tensor, Tensor, Tensor, int, Tensor]


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
        raise ValueError(
            f"no ungrouped Linear or Conv layer reads {', '.join(bare)}, so nothing can be "
            "reconstructed; leave them out with protect="
        )
    names = list(dict.fromkeys(_layer(part) for found in parts.values() for part in found))
    seen = moments(model, dense, names, batches)
    return {
        name: tuple(_consumer(part, model.get_submodule(_layer(part)), *seen[_layer(part)]) for part in found)
        for name, found in parts.items()
    }


@torch.no_grad()
def moments(model: nn.Module, dense: nn.Module, names: list[str], batches: list) -> dict[str, Moments]:
    """Second moments and means of what the named layers read in two networks of one shape, in float64.

    Parameters
    ----------
    model : nn.Module
        A network whose other groups may be pruned already.
    dense : nn.Module
        The network before pruning.
    names : list[str]
        Names of layers.
    batches : list
        (input, target) pairs.
    """
    subjects, inputs, total = [copied(model), copied(dense)], {}, {}
    for which, subject in enumerate(subjects):
        for name in names:
            inputs[which, name] = seen = []
            subject.get_submodule(name).register_forward_pre_hook(
                lambda _, arguments, seen=seen: seen.extend(arguments[0].detach().clone().split(EXAMPLES))
            )
    for x, _ in batches:
        for subject in subjects:
            observe.call(subject, x)
        for name in names:
            for pair in zip(inputs[0, name], inputs[1, name], strict=True):
                mine, theirs = (
                    input_columns(subjects[0].get_submodule(name), part)[0].double() for part in pair
                )
                level = mine.abs().view(len(mine), len(pair[0]), -1).mean(2).square().sum(1)
                sums = mine @ mine.mT, mine @ theirs.mT, mine.sum(1), theirs.sum(1), mine.shape[1], level
                total[name] = [a + b for a, b in zip(total.get(name, (0,) * 6), sums, strict=True)]
            inputs[0, name].clear(), inputs[1, name].clear()
    missing = [name for name in names if name not in total]
    if missing:
        raise ValueError(
            f"no input of {', '.join(missing)} was seen; leave the layers before it out with protect="
        )
    return {name: (g, c, x / n, d / n, n, level.sqrt()) for name, (g, c, x, d, n, level) in total.items()}


def _layer(part: Slice) -> str:
    return part.tensor.rpartition(".")[0]


def _observable(model: nn.Module, part: Slice) -> bool:
    layer = model.get_submodule(_layer(part))
    return isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d) and getattr(layer, "groups", 1) == 1


def _consumer(
    part: Slice,
    layer: nn.Module,
    gram: Tensor,
    cross: Tensor,
    mean: Tensor,
    dense_mean: Tensor,
    count: int,
    level: Tensor,
) -> Consumer:
    weight = layer.weight.detach()
    kernel = weight[0, 0].numel()
    index = torch.as_tensor(part.index, device=weight.device)
    # columns: (channels, n)
    columns = (index[:, :, None] * kernel + torch.arange(kernel, device=weight.device)).flatten(1)
    flat, free = columns.flatten(), float(layer.bias is not None)
    return Consumer(
        part.tensor,
        weight.flatten(1)[:, columns].movedim(0, -1),
        gram[flat][:, flat],
        cross[flat][:, flat],
        free * mean[flat],
        free * dense_mean[flat],
        count,
        level[flat],
    )
