"""Data sets that are part of the repository: sheets of images with a table of labels, checked by sha256."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from survey_lib.experiment import files
from survey_lib.experiment.data.parts import Arrays, split
from survey_lib.repository import REPOSITORY

SHA256 = {
    "eurosat32_mini": {
        "labels.csv": "c144bb3899db0d15820cf5abfb161e32f2a82a77538cee13a812ff3c0966ada4",
        "train_3000.png": "a594add9426e22b9f9a8eec048a1aac0da1fc4301669f283596929d6e9acb8f7",
        "test_1000.png": "2976bc6c5a202acbb88d30ae56dca2c6d2c4e7d3edb8965e465a323d89c13a92",
    },
    "fashion_mini": {
        "labels.csv": "1a220fd9ccb21ded50dde74927866364b2649e6e959f49db4c99b140dbc2da08",
        "train_2000.png": "19b4d17e177b732e1b5ae3be5792b41bfd59aa2e8246f639fd7a301241353c98",
        "test_1000.png": "30e6e57640776ed9d02f13b8545d34de5e88dd663994511f34565a3001899dbb",
    },
}


def read(root: Path, name: str, size: int) -> tuple[dict[str, Arrays], tuple[str, ...]]:
    """The parts and class names of a data set of the repository.

    Parameters
    ----------
    root : Path
        Folder of data sets.
    name : str
        Name of the data set.
    size : int
        Pixels a side of its images.
    """
    base = _checked(root, name)
    table, parts = pd.read_csv(base / "labels.csv"), {}
    for part in ("train", "test"):
        labels = table.loc[table["split"] == part, "label"].to_numpy()
        parts[part] = _tiles(base / f"{part}_{len(labels)}.png", size), labels
    return parts, tuple(table.drop_duplicates("label").sort_values("label")["class"])


def eurosat_parts(root: Path, validation: int) -> dict[str, str]:
    """The part of each EuroSAT file that eurosat32-mini holds.

    Parameters
    ----------
    root : Path
        Folder of the data set.
    validation : int
        Number of images held out.

    Returns
    -------
    dict[str, str]
        {file name: train, validation or test}.
    """
    table = pd.read_csv(_checked(root, "eurosat32_mini") / "labels.csv", index_col="source_file")
    train = table[table["split"] == "train"]
    _, (chosen, _) = split((train.index.to_numpy(), train["label"].to_numpy()), validation)
    return table["split"].to_dict() | dict.fromkeys(chosen, "validation")


def _checked(root: Path, name: str) -> Path:
    """The folder in `root`, or in the repository where `root` has none, once all of its hashes are right."""
    base = root / name if (root / name).exists() else REPOSITORY / "data" / name
    for file, expected in SHA256[name].items():
        files.verified(base / file, expected, "restore it from the repository")
    return base


def _tiles(path: Path, size: int) -> np.ndarray:
    sheet = np.asarray(Image.open(path))
    rows, columns = sheet.shape[0] // size, sheet.shape[1] // size
    return sheet.reshape(rows, size, columns, size, -1).swapaxes(1, 2).reshape(rows * columns, size, size, -1)
