"""From ties to channels: connected components, consumers, groups, reasons, count ties."""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from survey_lib.chain.coupling.groups import ChannelGroup, Coupling, Slice, shapes
from survey_lib.chain.coupling.labels import Choice, Labels
from survey_lib.chain.coupling.readings import LabelledRun
from survey_lib.chain.coupling.sizes import Size
from survey_lib.chain.masks import reparametrised


class Classes:
    """Each connected component of the ties is one channel; `alive` says which may go.

    dead: ambiguous operations, by their number, that were read so that nothing is left to prune.
    """

    def __init__(self, labels: Labels):
        self.axis = np.searchsorted(labels.starts, np.arange(labels.total), side="right") - 1  # of each label
        first, second = np.concatenate([np.zeros((2, 0), int), *(tie for tie, _ in labels.ties)], axis=1)
        graph = coo_matrix((np.ones(len(first), bool), (first, second)), shape=(labels.total, labels.total))
        self.count, self.of = connected_components(graph, directed=False)
        fixed = self.marks(vector for vector, _ in labels.fixed)
        fixed[self.of[0]] = True
        self.alive = ~fixed & self.marks(labels.read)
        dead = (n for n, choice in enumerate(labels.choices) if self._dead(choice, labels.numbers))
        self.dead = frozenset(dead)

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


def coupling(run: LabelledRun, classes: Classes) -> Coupling:
    """The groups of a run: classes with slices on the same axes form one.

    A group of one channel could only be emptied, so it is none.

    Parameters
    ----------
    run : LabelledRun
        The traced run.
    classes : Classes
        The components of its ties.
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
    found, first = np.unique(classes.of[own], return_index=True)
    found = found[first.argsort()]
    _, first, group = np.unique(signature[found], return_index=True, return_inverse=True)
    member[found, 0] = group = first.argsort().argsort()[group]
    for number in range(len(first)):
        member[found[group == number], 1] = np.arange((group == number).sum())
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
