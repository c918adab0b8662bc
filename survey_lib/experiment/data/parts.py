"""Which examples train, validate and test: stratified, and the same in every run on every machine."""

import hashlib
from collections.abc import Sequence

import numpy as np

Arrays = tuple[np.ndarray, np.ndarray]  # images (n, height, width, channels) in 0..255, labels (n,)
SHARES = {"test": 0.2, "validation": 0.1}  # of eurosat32; the rest trains


def split(arrays: Arrays, size: int) -> tuple[Arrays, Arrays]:
    """Two parts with equal shares of each class, always the same.

    Parameters
    ----------
    arrays : Arrays
        Images and labels.
    size : int
        Examples of the second part, or a fifth of all where that is less.
    """
    from sklearn.model_selection import train_test_split  # slow to import

    images, labels = arrays
    rows, size = np.arange(len(labels)), min(size, len(labels) // 5)
    parts = train_test_split(rows, test_size=size, stratify=labels, random_state=0)
    return tuple((images[part], labels[part]) for part in parts)


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
