"""Where data sets come from, how their files are read and split, and how to get what is missing."""

import gzip
import hashlib
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from PIL import Image

from survey_lib.experiment import files
from survey_lib.repository import REPOSITORY

Arrays = tuple[np.ndarray, np.ndarray]  # images (n, height, width, channels) in 0..255, labels (n,)
Read = tuple[dict[str, Arrays], tuple[str, ...]]  # the parts that the source itself fixes; class names
DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
COUNT = 27_000  # images of the whole EuroSAT
SHARES = {"test": 0.2, "validation": 0.1}  # of eurosat32; the rest trains
MINI_VALIDATION = 500  # of eurosat32-mini


@dataclass(frozen=True)
class Source:
    """Where a data set comes from: `read(folder)` returns train, test, and validation where that is fixed.

    validation: how many examples are split off where `read` returns no such part. torchvision: the class that
    downloads it, empty for what needs no download; other_way: how to get it without.
    """

    read: Callable[[Path], Read]
    validation: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flips: tuple[int, ...] = ()
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


def split(arrays: Arrays, size: int) -> tuple[Arrays, Arrays]:
    """Two parts with equal shares of each class, the same in every run on every machine.

    Parameters
    ----------
    arrays : Arrays
        Images and labels.
    size : int
        Examples of the second part, or a fifth of all where that is less.
    """
    from sklearn.model_selection import train_test_split  # slow to import

    size = min(size, len(arrays[1]) // 5)
    parts = train_test_split(*arrays, test_size=size, stratify=arrays[1], random_state=0)
    return tuple(parts[::2]), tuple(parts[1::2])


def _read_digits(root: Path) -> Read:
    from sklearn.datasets import load_digits  # slow to import, and only this data set needs it

    digits = load_digits()
    train, test = split((digits.images[..., None] * (255 / 16), digits.target), 300)
    return {"train": train, "test": test}, tuple("0123456789")


def _read_mnist(root: Path, kind: str) -> Read:
    import torchvision.datasets  # slow to import, like that below

    base = root / "downloads" / kind / "raw"
    if kind == "FashionMNIST" and not any(base.glob("train-images-idx3-ubyte*")):
        base = DEBIAN_FASHION

    def part(stem: str) -> Arrays:
        images = _idx(base / f"{stem}-images-idx3-ubyte", 16).reshape(-1, 28, 28, 1)
        return images, _idx(base / f"{stem}-labels-idx1-ubyte", 8)

    classes = getattr(torchvision.datasets, kind).classes  # such as "Sneaker", but "7 - seven"
    return {"train": part("train"), "test": part("t10k")}, tuple(c.partition(" - ")[0] for c in classes)


def _idx(path: Path, header: int) -> np.ndarray:
    packed = path.with_name(path.name + ".gz")
    content = gzip.decompress(packed.read_bytes()) if packed.exists() else path.read_bytes()
    return np.frombuffer(content, np.uint8, offset=header)


def _read_sheets(root: Path, name: str, size: int) -> Read:
    """A data set of the repository: sheets of images, `size` pixels a side, with a table of labels."""
    table, parts = pd.read_csv(io.BytesIO(pinned(root, f"{name}/labels.csv"))), {}
    for part in ("train", "test"):
        labels = table.loc[table["split"] == part, "label"].to_numpy()
        sheet = np.asarray(Image.open(io.BytesIO(pinned(root, f"{name}/{part}_{len(labels)}.png"))))
        rows, columns = sheet.shape[0] // size, sheet.shape[1] // size
        tiles = sheet.reshape(rows, size, columns, size, -1).swapaxes(1, 2)
        parts[part] = tiles.reshape(rows * columns, size, size, -1), labels
    return parts, tuple(table.drop_duplicates("label").sort_values("label")["class"])


def pinned(root: Path, name: str) -> bytes:
    """The content of a file in `root`, or in the repository where `root` has none, once its hash is right.

    `data/SHA256SUMS` lists the hashes; `sha256sum --check` reads it, too.

    Parameters
    ----------
    root : Path
        Folder of data sets.
    name : str
        Name of the file in it.

    Raises
    ------
    ValueError
        For a changed file.
    """
    path = root / name if (root / name).exists() else REPOSITORY / "data" / name
    listed = (REPOSITORY / "data" / "SHA256SUMS").read_text().splitlines()
    sha256 = {name: value for value, name in map(str.split, listed)}
    return files.verified(path, sha256[name], "restore it from the repository")


def _read_eurosat32(root: Path) -> Read:
    names, pixels = eurosat_images(root)
    part_of = nested(names, mini_parts(root))
    classes, labels = np.unique([_class_of(name) for name in names], return_inverse=True)
    chosen = {part: [part_of[name] == part for name in names] for part in ("train", "validation", "test")}
    return {part: (pixels[rows], labels[rows]) for part, rows in chosen.items()}, tuple(classes.tolist())


def eurosat_images(root: Path) -> tuple[list[str], np.ndarray]:
    """File names (n), sorted by class, and pixels (n, 32, 32, 3) in 0..255, from `root/downloads`.

    They come from `eurosat32.npz`, which is made from torchvision's folder `eurosat/2750` where it is missing
    (about 20 s) and works without that folder afterwards. Its checksums are checked each time.

    Raises
    ------
    ValueError
        For a damaged file or an incomplete folder, RuntimeError where there is neither.
    """
    path = root / "downloads" / "eurosat32.npz"
    if not path.exists():
        _prepare_eurosat(root / "downloads", path)
    try:
        with np.load(path) as file:
            return file["files"].tolist(), file["images"]
    except (BadZipFile, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}); delete it, it is made again") from error


def _prepare_eurosat(downloads: Path, path: Path) -> None:
    """Read the JPEG files and halve them, each new pixel the mean of four."""
    from torchvision.datasets import EuroSAT  # slow to import

    samples = EuroSAT(downloads).samples
    if len(samples) != COUNT:
        raise ValueError(f"{downloads / 'eurosat'} holds {len(samples)} images of {COUNT}; get all of them")
    made = io.BytesIO()
    pixels = np.stack([np.asarray(Image.open(name).reduce(2)) for name, _ in samples])
    np.savez(made, files=[Path(name).name for name, _ in samples], images=pixels)
    files.replace(path, made.getvalue())


def mini_parts(root: Path) -> dict[str, str]:
    """{file: train, validation or test} of each EuroSAT file that eurosat32-mini holds."""
    table = pd.read_csv(io.BytesIO(pinned(root, "eurosat32_mini/labels.csv")), index_col="source_file")
    train = table[table["split"] == "train"]
    _, (chosen, _) = split((train.index.to_numpy(), train["label"].to_numpy()), MINI_VALIDATION)
    return table["split"].to_dict() | dict.fromkeys(chosen, "validation")


def nested(names: Sequence[str], inner: dict[str, str]) -> dict[str, str]:
    """The part of each file, with the files of a smaller data set in its own parts.

    A network trained on one of the two data sets has then never seen a validation or test image of the other.
    In each class (`Forest_12.jpg` is of class Forest) the files of `inner` keep their part; the others fill
    test up to 20 % and validation up to 10 %, in order of the sha256 of their names, and the rest trains.
    Only the list of names decides.

    Parameters
    ----------
    names : Sequence[str]
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
    found = {name: inner.get(name, "train") for name in names}
    shuffled = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    for kind in {_class_of(name) for name in names}:
        own = [name for name in shuffled if _class_of(name) == kind]
        free = [name for name in own if name not in inner]
        for part, share in SHARES.items():
            lacking = max(0, round(share * len(own)) - [found[name] for name in own].count(part))
            found |= dict.fromkeys(free[:lacking], part)
            free = free[lacking:]
    return found


def _class_of(name: str) -> str:
    """SeaLake, of SeaLake_7.jpg."""
    return name.rsplit("_", 1)[0]


EUROSAT32 = {"mean": (0.3435, 0.3816, 0.4085), "std": (0.1971, 0.1321, 0.1123), "flips": (2, 3)}
FASHION = {"mean": (0.2860,), "std": (0.3530,), "flips": (3,)}
SOURCES: dict[str, Source] = {
    "eurosat32-mini": Source(
        partial(_read_sheets, name="eurosat32_mini", size=32), MINI_VALIDATION, **EUROSAT32
    ),
    "digits": Source(_read_digits, 250, (0.3053,), (0.3760,)),
    "fashion-mnist": Source(
        partial(_read_mnist, kind="FashionMNIST"),
        5000,
        torchvision="FashionMNIST",
        other_way="\n  or on Debian and Ubuntu: apt install dataset-fashion-mnist",
        **FASHION,
    ),
    "fashion-mini": Source(partial(_read_sheets, name="fashion_mini", size=28), 400, **FASHION),
    "mnist": Source(partial(_read_mnist, kind="MNIST"), 5000, (0.1307,), (0.3081,), torchvision="MNIST"),
    "eurosat32": Source(
        _read_eurosat32,
        0,
        torchvision="EuroSAT",
        other_way="\n  or git clone https://github.com/wongyufei1/AAI3001_EuroSAT, and its folder data/EuroSAT_RGB "
        "becomes\n  downloads/eurosat/2750",
        **EUROSAT32,
    ),
}
