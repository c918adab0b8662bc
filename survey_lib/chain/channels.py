"""What can be observed of channel groups, need by need, put together as one Evidence for each producer layer.

Axis 0 is the group's channel. Weights and gradients are collected tensor by tensor (`evidence`) and cut into channels;
feature maps come from `feature_maps`. Some needs differ between the producers of a group, others belong to the group
as a whole. Repaired consumers are written back here.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from survey_lib.chain.consumers import consumers
from survey_lib.chain.coupling.groups import ChannelGroup, Coupling, Slice
from survey_lib.chain.evidence import base as evidence
from survey_lib.chain.evidence import weights as observe
from survey_lib.chain.evidence.base import Evidence, layer_seed
from survey_lib.chain.evidence.feature_maps import feature_maps
from survey_lib.chain.inputs import unwrap

ByProducer = dict[tuple[str, str], Tensor]  # (group name, producer)
ByGroup = dict[str, Tensor]


def channel_rows(tensor: Tensor, part: Slice) -> Tensor:
    """The slice of each channel, (size, ...): one row keeps its shape, several are laid flat.

    Parameters
    ----------
    tensor : Tensor
        A parameter or buffer.
    part : Slice
        The positions of each channel in it.
    """
    rows, index = tensor.movedim(part.dim, 0), part.index.ravel()
    if not np.array_equal(index, np.arange(len(rows))):  # else nothing to gather: a view
        rows = rows[torch.as_tensor(index, device=tensor.device)]
    return rows if part.index.shape[1] == 1 else rows.reshape(len(part.index), -1)


def producer_slices(group: ChannelGroup, producer: str) -> list[Slice]:
    """The output rows of a producer: its slices that no consumer contracts.

    A tied embedding is read along the very axis it produces: then that slice is both.

    Parameters
    ----------
    group : ChannelGroup
        A channel group of the model.
    producer : str
        One of the group's modules.
    """
    read = {(part.tensor, part.dim) for part in group.consumers}
    mine = [p for p in group.slices if p.tensor.rpartition(".")[0] == producer and "bias" not in p.tensor]
    return [part for part in mine if (part.tensor, part.dim) not in read] or mine


def weight_slices(group: ChannelGroup, tensors: dict[str, Tensor]) -> list[Slice]:
    """Slices of weights, kernels and norm scales, rows and columns; biases and buffers left out.

    Parameters
    ----------
    group : ChannelGroup
        A channel group of the model.
    tensors : dict[str, Tensor]
        Parameters by name.
    """
    return [p for p in group.slices if p.tensor in tensors and "bias" not in p.tensor.rpartition(".")[2]]


def side_by_side(group: ChannelGroup, tensors: dict[str, Tensor]) -> Tensor:
    """(channels, n): every weight slice of each channel.

    Parameters
    ----------
    group : ChannelGroup
        A channel group of the model.
    tensors : dict[str, Tensor]
        Parameters by name.
    """
    parts = [channel_rows(tensors[part.tensor], part) for part in weight_slices(group, tensors)]
    return torch.cat([part.reshape(group.size, -1) for part in parts], 1)


@dataclass(frozen=True)
class Subject:
    """A model, the groups to observe in it, the data, and the dense network that the model was."""

    model: nn.Module
    dense: nn.Module
    groups: tuple[ChannelGroup, ...]
    batches: list
    loss: observe.Loss | None
    seed: int

    @property
    def weights(self) -> dict[str, Tensor]:
        """Every parameter, shared ones under each name."""
        return {name: p.detach() for name, p in self.model.named_parameters(remove_duplicate=False)}

    @property
    def names(self) -> list[str]:
        """Every parameter that belongs to a group."""
        weights = self.weights
        return list(dict.fromkeys(p.tensor for g in self.groups for p in g.slices if p.tensor in weights))

    def of(self, need: str) -> dict[str, Tensor]:
        """Evidence `need` of those parameters."""
        found = evidence.collect(self.model, self.names, (need,), self.batches, self.loss, self.seed)
        return {name: getattr(e, need) for name, e in found.items()}

    def gradients(self, batches: Iterable) -> Iterator[dict[str, Tensor]]:
        """∂L/∂w of those parameters, one batch after the other."""
        subject = evidence.copied(self.model)
        weights = {name: subject.get_parameter(name).requires_grad_() for name in self.names}
        with torch.random.fork_rng(), torch.enable_grad():
            yield from observe.gradients(subject, weights, batches, self.loss)


def rows(subject: Subject, tensors: dict[str, Tensor]) -> ByProducer:
    """Each producer's rows of each channel, from weight-shaped tensors: (size, in, kh, kw), or (size, n) if several.

    Parameters
    ----------
    subject : Subject
        What is observed.
    tensors : dict[str, Tensor]
        Weights by name, or what has their shapes.
    """
    matrices = {name: tensor for name, tensor in tensors.items() if tensor.dim() > 1}

    def own(group: ChannelGroup, producer: str) -> Tensor:
        parts = [part for part in producer_slices(group, producer) if part.tensor in matrices]
        found = [channel_rows(matrices[part.tensor], part) for part in parts]
        return found[0] if len(found) == 1 else torch.cat([one.flatten(1) for one in found], 1)

    return {(group.name, name): own(group, name) for group in subject.groups for name in group.producers}


def _collected(need: str, subject: Subject) -> ByProducer:
    return rows(subject, subject.of(need))


def _maps(subject: Subject, gradients: bool = False) -> ByProducer:
    """What producers write, or ∂L/∂ of it, where they are called as layers; each group needs one that is."""
    parts = {
        (group.name, producer): part
        for group in subject.groups
        for producer in group.producers
        for part in producer_slices(group, producer)
        if part.tensor == f"{producer}.weight"
    }
    found = feature_maps(subject.model, parts, subject.batches, subject.loss, gradients)
    unseen = ", ".join(sorted({group.name for group in subject.groups} - {name for name, _ in found}))
    if unseen:
        raise ValueError(f"no producer of {unseen} is called as a layer to be seen; protect= leaves them out")
    return found


def filter_saliency(subject: Subject) -> ByProducer:
    """Mean over mini-batches of (Σ over the channel's rows of g·w)²."""
    weights = rows(subject, subject.weights)
    found = (rows(subject, gradients) for gradients in subject.gradients(subject.batches))
    return observe.mean(
        {key: (weights[key] * grad).flatten(1).sum(1).square() for key, grad in each.items()}
        for each in found
    )


def gate_grad(subject: Subject) -> ByGroup:
    """Mean over examples of `|∂L/∂ξ|`, ξ a gate on the channel where it is read.

    ∂L/∂ξ = Σ a·∂L/∂a = Σ w·∂L/∂w over the consumers' weights of the channel, so no activation is needed.
    """
    weights = subject.weights

    def gates(gradients: dict[str, Tensor], group: ChannelGroup) -> Tensor:
        products = ((part, weights[part.tensor] * gradients[part.tensor]) for part in group.consumers)
        return sum(channel_rows(product, part).flatten(1).sum(1) for part, product in products).abs()

    found = subject.gradients(observe.singles(subject.batches))
    return observe.mean({group.name: gates(grads, group) for group in subject.groups} for grads in found)


def _slices(subject: Subject, tensors: dict[str, Tensor]) -> ByGroup:
    """(channels, n) for each group."""
    return {group.name: side_by_side(group, tensors) for group in subject.groups}


def energy(subject: Subject) -> ByGroup:
    """(channels,) Σ of the squares of `slices`, without putting them side by side."""
    weights = subject.weights

    def squares(rows: Tensor) -> Tensor:
        flat = rows.reshape(len(rows), -1).contiguous()  # a norm along a stride takes many times as long
        return torch.linalg.vector_norm(flat, dim=1).square()

    return {
        group.name: sum(squares(channel_rows(weights[p.tensor], p)) for p in weight_slices(group, weights))
        for group in subject.groups
    }


def gamma(subject: Subject) -> ByGroup:
    """(k, channels): the scales of the group's k batch norms; a group without one is a ValueError."""
    weights = subject.weights
    norms = {name for name, layer in subject.model.named_modules() if isinstance(layer, _BatchNorm)}

    def scales(group: ChannelGroup) -> Tensor:
        parts = [part for part in group.slices if part.tensor.removesuffix(".weight") in norms]
        if not parts:
            raise ValueError(f"group {group.name} has no batch-norm scale to rank by; protect= leaves it out")
        return torch.cat([channel_rows(weights[p.tensor], p).view(group.size, -1) for p in parts], 1).T

    return {group.name: scales(group) for group in subject.groups}


NEEDS = {
    **{need: partial(_collected, need) for need in ("grad", "grad_sq", "example_grad_sq", "hess_grad")},
    "filter_saliency": filter_saliency,
    "act_out": _maps,
    "act_grad": partial(_maps, gradients=True),
    "gamma": gamma,
    "slices": lambda s: _slices(s, s.weights),
    "energy": energy,
    "slices_grad": lambda s: _slices(s, s.of("grad")),
    "gate_grad": gate_grad,
    "consumers": lambda s: consumers(s.model, s.dense, s.groups, s.batches),
}


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
    pairs = evidence.data(needs, NEEDS, batches) if needs else []
    subject = Subject(unwrap(model), unwrap(dense or model), coupling.groups, pairs, loss, seed)
    observed = {need: NEEDS[need](subject) for need in needs}
    found: dict[str, list[Evidence]] = {group.name: [] for group in coupling.groups}
    for (group, producer), weight in rows(subject, subject.weights).items():
        seen = {need: values.get((group, producer), values.get(group)) for need, values in observed.items()}
        if any(value is None for value in seen.values()):
            continue  # a producer without feature map; its group has another
        name = f"{group}:{producer}"
        found[group].append(Evidence(name, weight, layer_seed(seed, name), **seen))
    return found


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
