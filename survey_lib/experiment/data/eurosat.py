"""EuroSAT at 32 pixels: the 27,000 JPEG files are read and averaged once, then kept in one file."""

import io
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from PIL import Image

from survey_lib.experiment import files

COUNT = 27_000  # images of the whole data set


def images(root: Path) -> tuple[list[str], np.ndarray]:
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
        _prepare(root / "downloads", path)
    try:
        with np.load(path) as file:
            return file["files"].tolist(), file["images"]
    except (BadZipFile, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}); delete it, it is made again") from error


def _prepare(folder: Path, path: Path) -> None:
    from torchvision.datasets import EuroSAT  # slow to import

    samples = EuroSAT(folder).samples
    if len(samples) != COUNT:
        raise ValueError(f"{folder / 'eurosat'} holds {len(samples)} images of {COUNT}; get the missing ones")
    made = io.BytesIO()
    pixels = np.stack([halved(np.asarray(Image.open(name))) for name, _ in samples])
    np.savez(made, files=[Path(name).name for name, _ in samples], images=pixels)
    files.replace(path, made.getvalue())


def halved(image: np.ndarray) -> np.ndarray:
    """An image (2h, 2w, channels) of 0..255 at half the size: (a + b + c + d + 2) // 4 over 2x2 pixels.

    Examples
    --------
    >>> halved(np.array([[[0], [1]], [[2], [3]]], np.uint8)).tolist()
    [[[2]]]
    """
    height, width, channels = image.shape
    blocks = image.reshape(height // 2, 2, width // 2, 2, channels).sum((1, 3), dtype=np.uint16)
    return ((blocks + 2) // 4).astype(np.uint8)
