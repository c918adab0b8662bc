"""Evidence of channel groups: one Evidence for each producer layer, axis 0 = the group's channel.

What is observed, need by need, stands in `observe_groups`; here it is put together, and repaired consumers
are written back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from survey_lib.chain.copies import unwrap
from survey_lib.chain.coupling.groups import ChannelGroup, Coupling
from survey_lib.chain.evidence import groups as observe_groups
from survey_lib.chain.evidence import weights as observe
from survey_lib.chain.evidence.base import Evidence, layer_seed


def collect(
    model: nn.Module,
    coupling: Coupling,
    needs: tuple[str, ...] = (),
    batches: Iterable | None = None,
    loss: observe.Loss | None = None,
    seed: int = 0,
    dense: nn.Module | None = None,
) -> dict[str, list[Evidence]]:
    """Evidence of every group of `coupling`: `{group name: [one Evidence for each producer]}`.

    `weight` holds the producer's rows of each channel: (channels, in, kh, kw) where a channel is one row,
    else (channels, n). Errors are those of `evidence.collect`; the model is not touched. Feature maps of all
    groups and batches are held at once: a few hundred small images are meant.

    Parameters
    ----------
    model : nn.Module
        The network.
    coupling : Coupling
        What `trace` returned for the model.
    needs : tuple[str, ...], default ()
        Fields of Evidence to fill beside `weight`.
    batches : Iterable, optional
        (input, target) pairs, or inputs alone where no gradient is needed.
    loss : observe.Loss, optional
        loss(output, target); cross-entropy if left out.
    seed : int, default 0
        Seed of what is drawn at random.
    dense : nn.Module, optional
        The network that `model` was before it was pruned, for `consumers`; itself if left out.
    """
    pairs = None if batches is None else observe.pairs(batches)
    _check(needs, pairs)
    subject = observe_groups.Subject(
        unwrap(model), unwrap(dense or model), coupling.groups, pairs, loss, seed
    )
    own = {need: observe_groups.OWN[need](subject) for need in needs if need in observe_groups.OWN}
    shared = {need: observe_groups.SHARED[need](subject) for need in needs if need in observe_groups.SHARED}
    found: dict[str, list[Evidence]] = {group.name: [] for group in coupling.groups}
    for (group, producer), weight in observe_groups.rows(subject, subject.weights).items():
        if any((group, producer) not in values for values in own.values()):
            continue  # a producer without feature map; `maps` saw to it that the group has another
        name = f"{group}:{producer}"
        seen = {need: values[group, producer] for need, values in own.items()}
        seen |= {need: values[group] for need, values in shared.items()}
        found[group].append(Evidence(name, weight, layer_seed(seed, name), **seen))
    return found


def _check(needs: tuple[str, ...], batches: list | None) -> None:
    known = (*observe_groups.OWN, *observe_groups.SHARED)
    for need in needs:
        if need not in known:
            raise ValueError(
                f"evidence {need!r} is unknown; of a channel group one can collect {', '.join(known)}"
            )
        if not batches and need not in observe_groups.STATIC:
            raise ValueError(f"the method needs {need!r}, observed on data; pass batches=[(x, y), ...]")
        if need in observe_groups.GRADIENTS and any(y is None for _, y in batches):
            raise ValueError(f"{need!r} is a gradient of the loss; pass batches of pairs (x, y)")


def score_groups(score: Callable[[Evidence], Tensor], found: dict[str, list[Evidence]]) -> dict[str, Tensor]:
    """One score a channel, (size,): the mean over the producers of its group.

    So all members of a group agree on what goes (case B26).

    Parameters
    ----------
    score : Callable[[Evidence], Tensor]
        A method's score, one value a channel.
    found : dict[str, list[Evidence]]
        What `collect` returned.

    Examples
    --------
    >>> twice = [Evidence("g:a", torch.tensor([[1.0], [2.0]])), Evidence("g:b", torch.tensor([[3.0], [0.0]]))]
    >>> score_groups(lambda e: e.weight[:, 0], {"g": twice})
    {'g': tensor([2., 1.])}
    """
    return {name: torch.stack([score(e) for e in members]).mean(0) for name, members in found.items()}


@torch.no_grad()
def write_consumers(model: nn.Module, group: ChannelGroup, repaired: dict[str, Tensor]) -> None:
    """Put the repaired weights of a `solve` method back into the consumers, in place.

    Parameters
    ----------
    model : nn.Module
        The network.
    group : ChannelGroup
        A channel group of the model.
    repaired : dict[str, Tensor]
        Weights (channels, n, out), and what is added to biases (out,), by tensor name.
    """
    for part in group.consumers:
        if part.tensor in repaired:
            weight = unwrap(model).get_parameter(part.tensor)
            index = torch.as_tensor(part.index, device=weight.device).flatten()
            columns = repaired[part.tensor].to(weight).movedim(-1, 0)  # (out, channels, k·kh·kw)
            weight[:, index] = columns.reshape(len(weight), len(index), *weight.shape[2:])
            bias = part.tensor.removesuffix("weight") + "bias"
            if bias in repaired:
                unwrap(model).get_parameter(bias).add_(repaired[bias])
