"""Where data sets come from, how their files are read, and how to get what is missing."""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torchvision.datasets
from PIL import Image

Arrays = tuple[np.ndarray, np.ndarray]  # images (n, height, width, channels) in 0..255, labels (n,)

REPOSITORY = Path(__file__).resolve().parents[3]
DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
SHA256 = {
    "labels.csv": "c144bb3899db0d15820cf5abfb161e32f2a82a77538cee13a812ff3c0966ada4",
    "train_3000.png": "a594add9426e22b9f9a8eec048a1aac0da1fc4301669f283596929d6e9acb8f7",
    "test_1000.png": "2976bc6c5a202acbb88d30ae56dca2c6d2c4e7d3edb8965e465a323d89c13a92",
}


@dataclass(frozen=True)
class Source:
    """Where a data set comes from: `read(folder) -> (training arrays, test arrays or None, class names)`."""

    read: Callable[[Path], tuple[Arrays, Arrays | None, tuple[str, ...]]]
    validation: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    ways: str
    flips: tuple[int, ...] = ()
    pad: int = 0
    test: int = 0


def folder() -> Path:
    """The folder of data sets: SURVEY_DATA, or `data` in the repository."""
    return Path(os.environ.get("SURVEY_DATA") or REPOSITORY / "data")


def _read_eurosat32_mini(root: Path) -> tuple[Arrays, Arrays, tuple[str, ...]]:
    base = root / "eurosat32_mini"
    for name, expected in SHA256.items():
        found = hashlib.sha256((base / name).read_bytes()).hexdigest()
        if found != expected:
            raise ValueError(
                f"{base / name} has sha256 {found}, expected {expected}; restore it from the repository"
            )
    with open(base / "labels.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    labels = {
        s: np.array([int(row["label"]) for row in rows if row["split"] == s]) for s in ("train", "test")
    }
    names = tuple(name for _, name in sorted({(int(row["label"]), row["class"]) for row in rows}))
    return (
        (_tiles(base / "train_3000.png"), labels["train"]),
        (_tiles(base / "test_1000.png"), labels["test"]),
        names,
    )


def _tiles(path: Path) -> np.ndarray:
    sheet = np.asarray(Image.open(path))
    rows, columns = sheet.shape[0] // 32, sheet.shape[1] // 32
    return sheet.reshape(rows, 32, columns, 32, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3)


def _read_digits(root: Path) -> tuple[Arrays, None, tuple[str, ...]]:
    from sklearn.datasets import load_digits  # slow to import, and only this data set needs it

    digits = load_digits()
    return (digits.images[..., None] * (255 / 16), digits.target), None, tuple("0123456789")


def _read_fashion(root: Path) -> tuple[Arrays, Arrays, tuple[str, ...]]:
    bases = [root / "downloads" / "FashionMNIST" / "raw", DEBIAN_FASHION]
    base = next((b for b in bases if any(b.glob("train-images-idx3-ubyte*"))), bases[0])
    train, test = (
        (_idx(base / f"{part}-images-idx3-ubyte", 16).reshape(-1, 28, 28, 1),
         _idx(base / f"{part}-labels-idx1-ubyte", 8)) for part in ("train", "t10k")
    )  # fmt: skip
    return train, test, tuple(torchvision.datasets.FashionMNIST.classes)


def _idx(path: Path, header: int) -> np.ndarray:
    packed = path.with_name(path.name + ".gz")
    content = gzip.decompress(packed.read_bytes()) if packed.exists() else path.read_bytes()
    return np.frombuffer(content, np.uint8, offset=header)


def _read_cifar(kind: type) -> Callable[[Path], tuple[Arrays, Arrays, tuple[str, ...]]]:
    def read(root: Path) -> tuple[Arrays, Arrays, tuple[str, ...]]:
        train, test = (kind(root / "downloads", train=part) for part in (True, False))  # checks every md5
        return (
            (train.data, np.array(train.targets)),
            (test.data, np.array(test.targets)),
            tuple(train.classes),
        )

    return read


def _read_eurosat(root: Path) -> tuple[Arrays, None, tuple[str, ...]]:
    images = torchvision.datasets.EuroSAT(root / "downloads")
    pixels = np.stack([np.asarray(Image.open(path)) for path, _ in images.samples])
    return (pixels, np.array(images.targets)), None, tuple(images.classes)


def _torchvision_ways(call: str) -> str:
    return (
        f'with a network: python -c "import torchvision.datasets as d; d.{call}"\n'
        "  without one: copy that folder's contents from a machine that has them"
    )


SOURCES: dict[str, Source] = {
    "eurosat32-mini": Source(
        _read_eurosat32_mini, 500, (0.3435, 0.3816, 0.4085), (0.1971, 0.1321, 0.1123), flips=(2, 3),
        ways="it is part of the repository: `git checkout data/eurosat32_mini`"),
    "digits": Source(_read_digits, 250, (0.3053,), (0.3760,), test=300, ways="pip install scikit-learn"),
    "fashion-mnist": Source(
        _read_fashion, 5000, (0.2860,), (0.3530,), flips=(3,),
        ways="on Debian or Ubuntu: apt install dataset-fashion-mnist\n  "
        + _torchvision_ways("FashionMNIST('FOLDER/downloads', download=True)")),
    "cifar10": Source(
        _read_cifar(torchvision.datasets.CIFAR10), 5000, (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616),
        flips=(3,), pad=4, ways=_torchvision_ways("CIFAR10('FOLDER/downloads', download=True)")),
    "cifar100": Source(
        _read_cifar(torchvision.datasets.CIFAR100), 5000, (0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762),
        flips=(3,), pad=4, ways=_torchvision_ways("CIFAR100('FOLDER/downloads', download=True)")),
    "eurosat": Source(
        _read_eurosat, 2700, (0.3444, 0.3803, 0.4078), (0.2037, 0.1366, 0.1148), flips=(2, 3), test=2700,
        ways=_torchvision_ways("EuroSAT('FOLDER/downloads', download=True)")),
}  # fmt: skip
