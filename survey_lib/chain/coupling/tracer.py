"""`trace`: the coupled channels of anyone's model. Runs it with labels, and makes the ties that these leave to groups."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import nn
from torch.utils import _pytree as pytree

from survey_lib.chain.coupling.groups import ChannelGroup, Coupling, Slice, shapes
from survey_lib.chain.coupling.labels import Choice, Labels
from survey_lib.chain.coupling.readings import LabelledRun, ShapesRun
from survey_lib.chain.coupling.sizes import Size
from survey_lib.chain.inputs import arguments, check_kind, running, untouched, unwrap
from survey_lib.chain.masks import reparametrised
from survey_lib.chain.surgery.resize import structure


def trace(model: nn.Module, example, *more) -> Coupling:
    """The coupled channels of a model, found by running it once on each example with labels beside every tensor.

    Ambiguous operations (a channel axis split in two, grouped convolution, group norm) are read the usual
    way first; where that leaves nothing to prune the run is repeated with the next reading. Parameters that
    evaluation does not use (auxiliary heads) are labelled in a second run in training mode.

    Parameters
    ----------
    model : nn.Module
        The network; it is left as it was.
    example : tensor, tuple or dict
        An input of the forward; at least two steps long where a recurrent layer reads it.
    *more : more inputs
        Each in the same form, for optional arguments, branches and experts that the first does not reach (case B69).

    Returns
    -------
    Coupling
        `print(coupling)` is a line a group, `print(coupling["conv1"])` a line a tensor of the group that holds the
        outputs of `conv1`; `fixed` says why layers cannot be pruned, `unseen` names parameters that the run did
        not use. `prune(..., coupling=coupling)` shares it between several cuts of this model.

    Raises
    ------
    ValueError
        For an example without a tensor or that the model does not run on, and for models without values that can
        be ranked (lazy, meta, int8, scripted).

    Examples
    --------
    >>> coupling = trace(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3)), torch.ones(1, 2))
    >>> coupling
    1 channel groups, 4 channels
    group  channels  tensors  written by  read by  over channels
    0      4         3        0           2
    fixed: 2 (reaches the model's output)
    >>> coupling["0"]
    group 0, 4 channels
    tensor    axis  channels  why
    0.weight  0     4         output, addmm in 0
    0.bias    0     4         addmm in 0, addmm in 2
    2.weight  1     4         input, addmm in 2
    """
    model = unwrap(model)
    check_kind(model)
    with untouched(model):
        return labelled(model, example, *more)


def labelled(model: nn.Module, example, *more) -> Coupling:
    """`trace` for a caller who puts back what a forward writes to the parameters.

    Parameters
    ----------
    model : nn.Module
        The network, without wrappers.
    example : tensor, tuple or dict
        An input of its forward.
    *more : more inputs
        Each in the same form.
    """
    inputs = [arguments(one) for one in (example, *more)]
    with torch.inference_mode(False), running(model, example, *more):
        return _coupling(*_best(model, inputs))


def _best(model: nn.Module, inputs: list) -> tuple[LabelledRun, Classes]:
    """The run whose readings of ambiguous operations leave most to prune."""
    first = _attempt(model, inputs, frozenset())
    modules = {choice.module for choice in first[1].dead}
    second = [n for n, choice in enumerate(first[0].labels.choices) if choice.module in modules]
    if not second:
        return first
    return min(first, _attempt(model, inputs, frozenset(second)), key=lambda traced: len(traced[1].dead))


def _attempt(model: nn.Module, inputs: list, second: frozenset[int]) -> tuple[LabelledRun, Classes]:
    run = None
    with contextlib.suppress(Exception):  # the run with all values says what is wrong
        run = _ran(ShapesRun, model, inputs, second)
    if run is None or run.looked:
        run = _ran(LabelledRun, model, inputs, second)
    for name, why in reparametrised(run.model).items():
        for tensor in run.model.get_submodule(name).parameters():
            run.labels.fix_all(run.labels.axes(tensor), f"coupled to {name}: {why}")
    return run, Classes(run.labels)


def _ran(kind: type[LabelledRun], model: nn.Module, inputs: list, second: frozenset[int]) -> LabelledRun:
    """All inputs in evaluation mode, and the first in training mode too where that alone uses some parameters."""
    run = kind(structure(model), second)
    with torch.random.fork_rng(devices=[]):
        run.model.eval()
        for number, one in enumerate(inputs):
            run.labels.counting = number == 0  # multiply-adds are those of the first
            run(_copies(one, 1))
        if any(id(p) not in run.seen for p in run.model.parameters()):
            run.model.train()
            run.labels.counting = False
            for times in (1, 2):  # it may want targets, or more than one example for its batch norms
                with contextlib.suppress(Exception):
                    run(_copies(inputs[0], times))
                    break
    return run


def _copies(inputs, times: int):
    """The inputs as new tensors, the batch repeated."""
    return pytree.tree_map_only(
        torch.Tensor, lambda x: torch.cat([x] * times) if x.dim() else x.clone(), inputs
    )


class Classes:
    """Each connected component of the ties is one channel; `alive` says which may go.

    dead: ambiguous operations that were read so that nothing is left to prune.
    """

    def __init__(self, labels: Labels):
        self.axis = np.searchsorted(labels.starts, np.arange(labels.total), side="right") - 1  # of each label
        first, second = np.concatenate([np.zeros((2, 0), int), *(tie for tie, _ in labels.ties)], axis=1)
        graph = coo_matrix((np.ones(len(first), bool), (first, second)), shape=(labels.total, labels.total))
        self.count, self.of = connected_components(graph, directed=False)
        fixed = self.marks(vector for vector, _ in labels.fixed)
        fixed[self.of[0]] = True
        self.alive = ~fixed & self.marks(labels.read)
        self.dead = [choice for choice in labels.choices if self._dead(choice, labels.numbers)]

    def marks(self, vectors: Iterable[np.ndarray]) -> np.ndarray:
        """Whether one of the labels of each class is in one of the vectors."""
        marked = np.zeros(self.count, bool)
        for vector in vectors:
            marked[self.of[vector[vector > 0]]] = True
        return marked

    def axes(self, vectors: list[np.ndarray]) -> set[int]:
        """Axes of tensors with a label in one of the vectors."""
        found = np.concatenate([np.zeros(0, int), *vectors])
        return set(np.unique(self.axis[found[found > 0]]).tolist())

    def _dead(self, choice: Choice, numbers: list[Size]) -> bool:
        """Nothing can go the way an operation was read, or the width that would shrink is used as a number."""
        split, shrinks = self._classes(choice.labels), self._classes(np.append(choice.labels, choice.stated))
        used = [self._classes(number.labels) for number in numbers if number == choice.width]
        return len(split) < 2 or not self.alive[split].any() or np.isin(np.hstack([[], *used]), shrinks).any()

    def _classes(self, vector: np.ndarray) -> np.ndarray:
        return np.unique(self.of[vector[vector > 0]])


def _coupling(run: LabelledRun, classes: Classes) -> Coupling:
    """The groups of a run: classes with slices on the same axes form one.

    A group of one channel could only be emptied, so it is none.
    """
    labels, alive = run.labels, classes.alive.copy()
    while True:
        member = _members(labels, classes, alive)
        tied, broken = _counts(labels, classes, member)
        sizes = np.bincount(member[alive, 0])
        single = np.isin(member[:, 0], np.flatnonzero(sizes == 1))
        if not broken.any() and not single.any():
            break
        labels.fix(np.flatnonzero(broken[classes.of]), "a width that must stay equal to a fixed one")
        labels.fix(np.flatnonzero(single[classes.of]), "its channels can only go all together")
        alive &= ~broken & ~single
    member = member[classes.of]
    groups = _groups(run, classes, member, sizes)
    return Coupling(
        groups=groups,
        fixed=_reasons(labels, classes, member) | reparametrised(run.model),
        counts=tuple(tuple(groups[n].name for n in sorted(numbers)) for numbers in tied if len(numbers) > 1),
        member=member,
        widths={name: list(vectors.values()) for name, vectors in run.widths.items()},
        attributes=labels.attributes,
        second=labels.second,
        products=tuple(labels.products),
        unseen=tuple(n for n, tensor in run.model.named_parameters() if id(tensor) not in run.seen),
        shapes=shapes(run.model),
    )


def _members(labels: Labels, classes: Classes, alive: np.ndarray) -> np.ndarray:
    """(classes, 2): the group of each class that is alive and its channel there, both in the order of first labels."""
    own = np.flatnonzero(alive[classes.of])
    tokens = np.random.default_rng(0).integers(1, 2**62, len(labels.starts))
    signature = np.zeros(classes.count, np.int64)
    np.add.at(signature, classes.of[own], tokens[classes.axis[own]])
    member = np.full((classes.count, 2), -1)
    found = pd.unique(classes.of[own])
    member[found, 0] = group = pd.factorize(signature[found])[0]
    member[found, 1] = pd.Series(group).groupby(group).cumcount()
    return member


def _groups(run: LabelledRun, classes: Classes, member: np.ndarray, sizes) -> tuple[ChannelGroup, ...]:
    labels, buffers = run.labels, dict(run.model.named_buffers())
    roles = {"output": classes.axes(labels.produced), "input": classes.axes(labels.read_weights)}
    why, first = defaultdict(list), member[:, 1] == 0  # the operations that tie the first channels
    for tie, operation in labels.ties:
        for label in np.unique(tie[first[tie]]).tolist():
            why[label].append(operation)
    groups: list[ChannelGroup] = []
    for number, size in enumerate(sizes):
        own = np.flatnonzero(member[:, 0] == number)
        slices, produced, read = [], [], []
        for here in np.split(own, np.flatnonzero(np.diff(classes.axis[own])) + 1):
            axis = classes.axis[here[0]]
            tensor, dim = labels.axes_of[axis]
            here = here[member[here, 1].argsort(kind="stable")]
            mine = [role for role, axes in roles.items() if axis in axes]
            text = ", ".join(dict.fromkeys([*mine, *why[here[0]]]))
            slices.append(Slice(tensor, dim, (here - labels.starts[axis]).reshape(size, -1), text))
            if "output" in mine and tensor not in buffers:
                produced.append(tensor.rpartition(".")[0])
            if "input" in mine:
                read.append(slices[-1])
        flags = sorted({flag for vector, flag in labels.flags if (member[vector, 0] == number).any()})
        name = produced[0] if produced else slices[0].tensor
        taken = sum(group.name.partition(":")[0] == name for group in groups)
        name = f"{name}:{taken + 1}" if taken else name
        producers = tuple(dict.fromkeys(produced))
        groups.append(ChannelGroup(name, int(size), tuple(slices), producers, tuple(read), tuple(flags)))
    return tuple(groups)


def _counts(labels: Labels, classes: Classes, member: np.ndarray) -> tuple[list[set[int]], np.ndarray]:
    """Groups that must keep the same fraction, and classes that cannot because their partner is fixed."""
    sets, broken = [], np.zeros(classes.count, bool)
    for pair in labels.counted:
        partners = [classes.of[vector[vector > 0]] for vector in pair]
        both = np.concatenate(partners)
        numbers = set(member[both, 0].tolist())
        if -1 in numbers or not all(map(len, partners)):
            broken[both[member[both, 0] >= 0]] = True
        else:
            numbers = numbers.union(*(other for other in sets if other & numbers))
            sets = [other for other in sets if not other & numbers] + [numbers]
    return sets, broken


def _reasons(labels: Labels, classes: Classes, member: np.ndarray) -> dict[str, str]:
    """Why each layer has no channel to prune."""
    why = np.full(classes.count, len(labels.fixed))
    for number, (vector, _) in reversed(list(enumerate(labels.fixed))):
        why[classes.of[vector]] = number
    texts = [text for _, text in labels.fixed] + ["nothing in the trace reads its channels"]
    layers, prunable = {}, set()
    for axis in sorted(classes.axes(labels.produced)):
        tensor, _ = labels.axes_of[axis]
        layer, own = tensor.rpartition(".")[0] or tensor, classes.axis == axis
        if (member[own, 0] >= 0).any():
            prunable.add(layer)
        layers.setdefault(layer, texts[why[classes.of[own]].min()])
    return {layer: text for layer, text in layers.items() if layer not in prunable}
