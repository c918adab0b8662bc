"""Which examples train, validate and test: stratified, and the same in every run on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

Arrays = tuple[np.ndarray, np.ndarray]  # images (n, height, width, channels) in 0..255, labels (n,)
SHARES = {"test": 0.2, "validation": 0.1}  # of eurosat32; the rest trains


def split(arrays: Arrays, size: int) -> tuple[Arrays, Arrays]:
    """Two stratified parts: those of scikit-learn's `train_test_split`, whose import takes a second.

    Parameters
    ----------
    arrays : Arrays
        Images and labels.
    size : int
        Examples of the second part, or a fifth of all where that is less.
    """
    images, labels = arrays
    size = min(size, len(labels) // 5)
    random = np.random.RandomState(0)
    classes, counts = np.unique(labels, return_counts=True)
    first = _shares(counts, len(labels) - size, random)
    second = _shares(counts - first, size, random)
    orders = [random.permutation(np.flatnonzero(labels == one)) for one in classes]
    parts = [
        [order[:a] for order, a in zip(orders, first, strict=True)],
        [order[a : a + b] for order, a, b in zip(orders, first, second, strict=True)],
    ]
    one, two = (random.permutation(np.concatenate(part)) for part in parts)
    return (images[one], labels[one]), (images[two], labels[two])


def _shares(counts, total: int, random: np.random.RandomState):
    """How many of each class: rounded down, then one more where most was lost, equals at random."""
    exact = counts / counts.sum() * total
    shares, lost = np.floor(exact), exact % 1
    for most in np.unique(lost)[::-1]:
        lacking, equals = int(total - shares.sum()), np.flatnonzero(lost == most)
        if lacking > 0:
            shares[random.choice(equals, min(lacking, len(equals)), replace=False)] += 1
    return shares.astype(int)


def nested(files: Sequence[str], inner: dict[str, str]) -> dict[str, str]:
    """The part of each file, with the files of a smaller data set in its own parts.

    A network trained on one of the two data sets has then never seen a validation or test image of the other.
    In each class (`Forest_12.jpg` is of class Forest) the files of `inner` keep their part; the others fill
    test up to 20 % and validation up to 10 %, in order of the sha256 of their names, and the rest trains.
    Only the list of names decides.

    Parameters
    ----------
    files : Sequence[str]
        Files of the larger data set.
    inner : dict[str, str]
        {file: part} of the smaller one.

    Returns
    -------
    dict[str, str]
        {file: train, validation or test}.

    Examples
    --------
    >>> found = nested([f"Forest_{n}.jpg" for n in range(10)], {"Forest_3.jpg": "test"})
    >>> found["Forest_3.jpg"], [list(found.values()).count(part) for part in ("train", "validation", "test")]
    ('test', [7, 1, 2])
    """
    found = {}
    for name in sorted({class_of(file) for file in files}):
        members = [file for file in files if class_of(file) == name]
        kept = {file: inner[file] for file in members if file in inner}
        free = sorted(set(members) - set(kept), key=lambda file: hashlib.sha256(file.encode()).hexdigest())
        found |= dict.fromkeys(members, "train") | kept
        for part, share in SHARES.items():
            lacking = max(0, round(share * len(members)) - list(kept.values()).count(part))
            found |= dict.fromkeys(free[:lacking], part)
            free = free[lacking:]
    return found


def class_of(file: str) -> str:
    """The class in a EuroSAT file name.

    Examples
    --------
    >>> class_of("SeaLake_7.jpg")
    'SeaLake'
    """
    return file.rsplit("_", 1)[0]
