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

    validation, test: how many examples are split off where `read` returns no such part. torchvision: the class that
    downloads it, empty for what needs no download; other_way: how to get it without.
    """

    read: Callable[[Path], Read]
    validation: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flips: tuple[int, ...] = ()
    test: int = 0
    torchvision: str = ""
    other_way: str = ""

    @property
    def ways(self) -> str:
        """Every way to get the files, one a line."""
        if not self.torchvision:
            return "it is part of the repository: `git checkout data`"
        call = f"d.{self.torchvision}('{folder() / 'downloads'}', download=True)"
        return (
            f'with a network: python -c "import torchvision.datasets as d; {call}"\n'
            f"  without one: copy that folder's contents from a machine that has them{self.other_way}"
        )


def folder() -> Path:
    """The folder of data sets: SURVEY_DATA, or `data` in the repository, or a cache where there is no repository."""
    here = (REPOSITORY / "pyproject.toml").exists()
    own = REPOSITORY / "data" if here else Path.home() / ".cache" / "survey_lib"
    return Path(os.environ.get("SURVEY_DATA") or own)


def _read_digits(root: Path) -> Read:
    from sklearn.datasets import load_digits  # slow to import, and only this data set needs it

    digits = load_digits()
    return {"train": (digits.images[..., None] * (255 / 16), digits.target)}, tuple("0123456789")


def _read_mnist(root: Path, kind: str) -> Read:
    import torchvision.datasets  # slow to import, like that below

    base = root / "downloads" / kind / "raw"
    if kind == "FashionMNIST" and not any(base.glob("train-images-idx3-ubyte*")):
        base = DEBIAN_FASHION
    images = {
        part: (
            _idx(base / f"{stem}-images-idx3-ubyte", 16).reshape(-1, 28, 28, 1),
            _idx(base / f"{stem}-labels-idx1-ubyte", 8),
        )
        for part, stem in (("train", "train"), ("test", "t10k"))
    }
    classes = getattr(torchvision.datasets, kind).classes  # such as "Sneaker", but "7 - seven"
    return images, tuple(name.partition(" - ")[0] for name in classes)


def _idx(path: Path, header: int) -> np.ndarray:
    packed = path.with_name(path.name + ".gz")
    content = gzip.decompress(packed.read_bytes()) if packed.exists() else path.read_bytes()
    return np.frombuffer(content, np.uint8, offset=header)


def _read_eurosat(root: Path) -> Read:
    from torchvision.datasets import EuroSAT

    images = EuroSAT(root / "downloads")
    pixels = np.stack([np.asarray(Image.open(path)) for path, _ in images.samples])
    return {"train": (pixels, np.array(images.targets))}, tuple(images.classes)


def _read_eurosat32(root: Path) -> Read:
    files, pixels = eurosat.images(root)
    part_of = parts.nested(files, sheets.eurosat_parts(root, SOURCES["eurosat32-mini"].validation))
    names, numbers = np.unique([parts.class_of(file) for file in files], return_inverse=True)
    chosen = {part: [part_of[file] == part for file in files] for part in ("train", "validation", "test")}
    return {part: (pixels[rows], numbers[rows]) for part, rows in chosen.items()}, tuple(names.tolist())


EUROSAT = {
    "flips": (2, 3),
    "torchvision": "EuroSAT",
    "other_way": "\n  or git clone https://github.com/wongyufei1/AAI3001_EuroSAT, and its folder data/EuroSAT_RGB becomes\n"
    "  downloads/eurosat/2750",
}
EUROSAT32 = {"mean": (0.3435, 0.3816, 0.4085), "std": (0.1971, 0.1321, 0.1123)}
FASHION = {"mean": (0.2860,), "std": (0.3530,), "flips": (3,)}
SOURCES: dict[str, Source] = {
    "eurosat32-mini": Source(
        partial(sheets.read, name="eurosat32_mini", size=32), 500, flips=(2, 3), **EUROSAT32
    ),
    "digits": Source(_read_digits, 250, (0.3053,), (0.3760,), test=300),
    "fashion-mnist": Source(
        partial(_read_mnist, kind="FashionMNIST"),
        5000,
        torchvision="FashionMNIST",
        other_way="\n  or on Debian and Ubuntu: apt install dataset-fashion-mnist",
        **FASHION,
    ),
    "fashion-mini": Source(partial(sheets.read, name="fashion_mini", size=28), 400, **FASHION),
    "mnist": Source(partial(_read_mnist, kind="MNIST"), 5000, (0.1307,), (0.3081,), torchvision="MNIST"),
    "eurosat": Source(
        _read_eurosat, 2700, (0.3444, 0.3803, 0.4078), (0.2037, 0.1366, 0.1148), test=2700, **EUROSAT
    ),
    "eurosat32": Source(_read_eurosat32, 0, **EUROSAT32, **EUROSAT),
}
