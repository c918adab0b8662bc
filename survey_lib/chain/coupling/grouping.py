"""From ties to channels: connected components, consumers, groups, reasons, count ties."""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from survey_lib.chain.coupling.groups import ChannelGroup, Coupling, Slice, shapes
from survey_lib.chain.coupling.labels import Labels
from survey_lib.chain.coupling.readings import LabelledRun


class Classes:
    """Each connected component of the ties is one channel; `alive` says which may go."""

    def __init__(self, labels: Labels):
        self.labels = labels
        ends = np.append(labels.starts, labels.of_parameters).astype(int)
        self.axis = np.repeat(
            np.arange(-1, len(labels.starts)), np.diff(ends, prepend=0)
        )  # of each label of a tensor
        first, second = np.concatenate([np.zeros((2, 0), int), *(tie for tie, _ in labels.ties)], axis=1)
        graph = coo_matrix((np.ones(len(first), bool), (first, second)), shape=(labels.total, labels.total))
        self.count, self.of = connected_components(graph, directed=False)
        fixed = self.marks(vector for vector, _ in labels.fixed)
        fixed[self.of[0]] = True
        self.alive = ~fixed & self.marks(labels.read)

    def marks(self, vectors: Iterable[np.ndarray]) -> np.ndarray:
        """Whether one of the labels of each class is in one of the vectors."""
        marked = np.zeros(self.count, bool)
        for vector in vectors:
            marked[self.of[vector]] = True
        return marked

    def useful(self, vector: np.ndarray) -> bool:
        """Whether the axis can lose something: more than one class, and one of them alive."""
        classes = np.unique(self.of[vector[vector > 0]])
        return len(classes) > 1 and bool(self.alive[classes].any())

    def meet(self, first: np.ndarray, second: np.ndarray) -> bool:
        """Whether a channel of one is among the channels of the other.

        Parameters
        ----------
        first : np.ndarray
            Labels.
        second : np.ndarray
            Labels.
        """
        return bool(np.isin(self.of[first[first > 0]], self.of[second[second > 0]]).any())


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
        member, groups = _groups(labels, classes, alive)
        counts, broken = _counts(labels, classes, member, groups)
        single = np.isin(member[:, 0], [n for n, group in enumerate(groups) if group.size == 1])
        if not broken.any() and not single.any():
            break
        labels.fix(np.flatnonzero(broken[classes.of]), "a width that must stay equal to a fixed one")
        labels.fix(np.flatnonzero(single), "its channels can only go all together")
        alive &= ~broken & ~classes.marks([np.flatnonzero(single)])
    seen = {name: list(vectors.values()) for name, vectors in run.widths.items()}
    unseen = tuple(name for name, tensor in run.model.named_parameters() if id(tensor) not in run.seen)
    return Coupling(
        _explained(labels, groups),
        _reasons(labels, classes, member),
        counts,
        member,
        seen,
        run.attributes,
        run.second,
        tuple(run.products),
        unseen,
        shapes(run.model),
    )


def _explained(labels: Labels, groups: tuple[ChannelGroup, ...]) -> tuple[ChannelGroup, ...]:
    """The groups with the operations that tie it added to the role of every slice."""
    number = {axis: n for n, axis in enumerate(labels.axes_of)}
    slices = [piece for group in groups for piece in group.slices]
    axes = [number[piece.tensor, piece.dim] for piece in slices]
    slot = np.full(labels.total, -1)  # the slice whose first channel a label is
    slot[[labels.starts[axis] + piece.index[0, 0] for axis, piece in zip(axes, slices, strict=True)]] = (
        np.arange(len(slices))
    )
    operation = np.repeat(np.arange(len(labels.ties)), [tie.size for tie, _ in labels.ties])
    tied = slot[np.concatenate([np.zeros(0, int), *(tie.ravel() for tie, _ in labels.ties)])]
    whys = [[piece.why] if piece.why else [] for piece in slices]
    for pair in np.unique((tied * len(labels.ties) + operation)[tied >= 0]).tolist():
        one, tie = divmod(pair, len(labels.ties))
        whys[one].append(labels.ties[tie][1])
    texts = iter(", ".join(dict.fromkeys(why)) for why in whys)
    return tuple(
        replace(group, slices=tuple(replace(piece, why=next(texts)) for piece in group.slices))
        for group in groups
    )


def _groups(labels, classes, alive) -> tuple[np.ndarray, tuple[ChannelGroup, ...]]:
    own = np.flatnonzero(alive[classes.of[: labels.of_parameters]])
    axis = classes.axis[own]
    tokens = np.random.default_rng(0).integers(1, 2**62, len(labels.starts) + 1)
    signature = np.zeros(classes.count, np.int64)
    np.add.at(signature, classes.of[own], tokens[axis])
    member = np.full((labels.total, 2), -1)
    groups: list[ChannelGroup] = []
    marked = [_marked(classes, vectors) for vectors in (labels.produced, labels.read_weights)]
    by_signature = signature[classes.of[own]]
    first = np.sort(np.unique(by_signature, return_index=True)[1])
    for number, value in enumerate(by_signature[first]):
        mine = by_signature == value
        groups.append(_group(labels, classes, own[mine], axis[mine], marked, number, member, groups))
    _spread(classes, member)
    return member, tuple(groups)


def _group(labels, classes, own, axis, marked, number, member, groups) -> ChannelGroup:
    _, first, channel = np.unique(classes.of[own], return_index=True, return_inverse=True)
    channel = np.argsort(np.argsort(first))[channel]  # channels in the order of their first label
    size = len(first)
    member[own] = np.stack([np.full(len(own), number), channel], axis=1)
    slices, produced, read = [], [], []
    order = np.lexsort((own, channel, axis))
    for here in np.split(order, np.flatnonzero(np.diff(axis[order])) + 1):
        one = axis[here[0]]
        tensor, dim = labels.axes_of[one]
        roles = (role for role, axes in zip(("output", "input"), marked, strict=True) if one in axes)
        piece = Slice(tensor, dim, (own[here] - labels.starts[one]).reshape(size, -1), ", ".join(roles))
        slices.append(piece)
        if one in marked[0] and tensor not in labels.buffers:
            produced.append(tensor.rpartition(".")[0])
        if one in marked[1]:
            read.append(piece)
    flags = sorted({why for vector, why in labels.flags if (member[vector, 0] == number).any()})
    name = produced[0] if produced else slices[0].tensor
    taken = sum(group.name.partition(":")[0] == name for group in groups)
    name = f"{name}:{taken + 1}" if taken else name
    return ChannelGroup(name, size, tuple(slices), tuple(dict.fromkeys(produced)), tuple(read), tuple(flags))


def _marked(classes, vectors) -> set[int]:
    """Axes of tensors with a label in one of the vectors."""
    found = np.concatenate([np.zeros(0, int), *vectors])
    found = found[(found > 0) & (found < classes.labels.of_parameters)]
    return set(np.flatnonzero(np.bincount(classes.axis[found])).tolist())


def _spread(classes, member) -> None:
    """Every label of a class gets the group and channel of the class."""
    known = np.full((classes.count, 2), -1)
    rows = member[:, 0] >= 0
    known[classes.of[rows]] = member[rows]
    member[:] = known.take(classes.of, 0)


def _counts(labels, classes, member, groups) -> tuple[tuple[tuple[str, ...], ...], np.ndarray]:
    """Sets of groups that must keep the same fraction, and classes that cannot because their partner is fixed."""
    tied, broken = [], np.zeros(classes.count, bool)
    for pair in labels.counted:
        numbers = [member[vector[vector > 0], 0] for vector in pair]
        if any((n < 0).any() or not len(n) for n in numbers):
            for vector in pair:
                broken[classes.of[vector[member[vector, 0] >= 0]]] = True
        else:
            tied.append(set(np.unique(np.concatenate(numbers)).tolist()))
    sets: list[set[int]] = []
    for one in tied:
        one = one.union(*(s for s in sets if s & one))
        sets = [s for s in sets if not s & one] + [one]
    return tuple(tuple(groups[n].name for n in sorted(s)) for s in sets if len(s) > 1), broken


def _reasons(labels, classes, member) -> dict[str, str]:
    """Why each layer has no channel to prune."""
    why = np.full(classes.count, len(labels.fixed))
    for number in range(len(labels.fixed) - 1, -1, -1):
        why[classes.of[labels.fixed[number][0]]] = number
    texts = [text for _, text in labels.fixed] + ["nothing in the trace reads its channels"]
    produced = _marked(classes, labels.produced)
    layers: dict[str, str] = {}
    prunable = set()
    for one in sorted(produced):
        tensor, dim = labels.axes_of[one]
        layer = tensor.rpartition(".")[0] or tensor
        run = np.flatnonzero(classes.axis == one)
        if (member[run, 0] >= 0).any():
            prunable.add(layer)
        layers.setdefault(layer, texts[why[classes.of[run]].min()])
    return {layer: text for layer, text in layers.items() if layer not in prunable} | labels.reparametrised
