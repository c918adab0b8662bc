"""Where data sets come from, how their files are read, and how to get what is missing."""

import gzip
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from survey_lib.experiment.data import eurosat, parts, sheets
from survey_lib.experiment.data.parts import Arrays
from survey_lib.experiment.data.sheets import REPOSITORY

Read = tuple[dict[str, Arrays], tuple[str, ...]]  # the parts that the source itself fixes; class names
DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")


@dataclass(frozen=True)
class Source:
    """Where a data set comes from: `read(folder)` returns train, and validation and test where they are fixed.

    validation, test: how many examples are split off where `read` returns no such part.
    """

    read: Callable[[Path], Read]
    validation: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    ways: str
    flips: tuple[int, ...] = ()
    pad: int = 0
    test: int = 0


def folder() -> Path:
    """The folder of data sets: SURVEY_DATA, or `data` in the repository, or a cache where there is no repository."""
    here = (REPOSITORY / "pyproject.toml").exists()
    own = REPOSITORY / "data" if here else Path.home() / ".cache" / "survey_lib"
    return Path(os.environ.get("SURVEY_DATA") or own)


def _read_digits(root: Path) -> Read:
    from sklearn.datasets import load_digits  # slow to import, and only this data set needs it

    digits = load_digits()
    return {"train": (digits.images[..., None] * (255 / 16), digits.target)}, tuple("0123456789")


def _read_fashion(root: Path) -> Read:
    from torchvision.datasets import FashionMNIST  # slow to import, like those below

    bases = [root / "downloads" / "FashionMNIST" / "raw", DEBIAN_FASHION]
    base = next((b for b in bases if any(b.glob("train-images-idx3-ubyte*"))), bases[0])
    return _idx_parts(base), tuple(FashionMNIST.classes)


def _read_mnist(root: Path) -> Read:
    return _idx_parts(root / "downloads" / "MNIST" / "raw"), tuple("0123456789")


def _idx_parts(base: Path) -> dict[str, Arrays]:
    return {
        part: (
            _idx(base / f"{stem}-images-idx3-ubyte", 16).reshape(-1, 28, 28, 1),
            _idx(base / f"{stem}-labels-idx1-ubyte", 8),
        )
        for part, stem in (("train", "train"), ("test", "t10k"))
    }


def _idx(path: Path, header: int) -> np.ndarray:
    packed = path.with_name(path.name + ".gz")
    content = gzip.decompress(packed.read_bytes()) if packed.exists() else path.read_bytes()
    return np.frombuffer(content, np.uint8, offset=header)


def _read_cifar(root: Path, kind: str) -> Read:
    import torchvision.datasets

    make = getattr(torchvision.datasets, kind)
    train, test = (make(root / "downloads", train=part) for part in (True, False))  # checks every md5
    arrays = {part: (one.data, np.array(one.targets)) for part, one in (("train", train), ("test", test))}
    return arrays, tuple(train.classes)


def _read_eurosat(root: Path) -> Read:
    from torchvision.datasets import EuroSAT

    images = EuroSAT(root / "downloads")
    pixels = np.stack([np.asarray(Image.open(path)) for path, _ in images.samples])
    return {"train": (pixels, np.array(images.targets))}, tuple(images.classes)


def _read_eurosat32(root: Path) -> Read:
    files, pixels = eurosat.images(root)
    part_of = parts.nested(files, sheets.eurosat_parts(root, SOURCES["eurosat32-mini"].validation))
    labels = [parts.class_of(file) for file in files]
    names, numbers = np.unique(labels, return_inverse=True)
    chosen = {part: [part_of[file] == part for file in files] for part in ("train", "validation", "test")}
    return {part: (pixels[rows], numbers[rows]) for part, rows in chosen.items()}, tuple(names.tolist())


def _download(call: str) -> str:
    return (
        f'with a network: python -c "import torchvision.datasets as d; d.{call}"\n'
        "  without one: copy that folder's contents from a machine that has them"
    )


def _shipped(name: str, size: int, validation: int, **about: tuple) -> Source:
    """A data set of the repository."""
    ways = f"it is part of the repository: `git checkout data/{name}`"
    return Source(partial(sheets.read, name=name, size=size), validation, ways=ways, **about)


def _cifar(kind: str, mean: tuple[float, ...], std: tuple[float, ...]) -> Source:
    ways = _download(f"{kind}('FOLDER/downloads', download=True)")
    return Source(partial(_read_cifar, kind=kind), 5000, mean, std, ways, flips=(3,), pad=4)


EUROSAT_WAYS = (
    _download("EuroSAT('FOLDER/downloads', download=True)")
    + "\n  or git clone https://github.com/wongyufei1/AAI3001_EuroSAT, and its folder data/EuroSAT_RGB becomes\n"
    "  FOLDER/downloads/eurosat/2750"
)
FASHION_WAYS = "on Debian or Ubuntu: apt install dataset-fashion-mnist\n  " + _download(
    "FashionMNIST('FOLDER/downloads', download=True)"
)
MNIST_WAYS = (
    _download("MNIST('FOLDER/downloads', download=True)")
    + "\n  or put MNIST's four files, unpacked or .gz, into FOLDER/downloads/MNIST/raw"
)
EUROSAT32 = {"mean": (0.3435, 0.3816, 0.4085), "std": (0.1971, 0.1321, 0.1123), "flips": (2, 3)}
EUROSAT = {"mean": (0.3444, 0.3803, 0.4078), "std": (0.2037, 0.1366, 0.1148), "flips": (2, 3)}
FASHION = {"mean": (0.2860,), "std": (0.3530,), "flips": (3,)}
SOURCES: dict[str, Source] = {
    "eurosat32-mini": _shipped("eurosat32_mini", 32, 500, **EUROSAT32),
    "digits": Source(_read_digits, 250, (0.3053,), (0.3760,), "pip install scikit-learn", test=300),
    "fashion-mnist": Source(_read_fashion, 5000, ways=FASHION_WAYS, **FASHION),
    "fashion-mini": _shipped("fashion_mini", 28, 400, **FASHION),
    "mnist": Source(_read_mnist, 5000, (0.1307,), (0.3081,), MNIST_WAYS),
    "cifar10": _cifar("CIFAR10", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": _cifar("CIFAR100", (0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
    "eurosat": Source(_read_eurosat, 2700, ways=EUROSAT_WAYS, test=2700, **EUROSAT),
    "eurosat32": Source(_read_eurosat32, 0, ways=EUROSAT_WAYS, **EUROSAT32),
}
