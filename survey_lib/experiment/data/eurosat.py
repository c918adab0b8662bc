"""EuroSAT at 32 pixels: the 27,000 JPEG files are read and averaged once, then kept in one file."""

import hashlib
from pathlib import Path

import numpy as np
import safetensors.numpy
from PIL import Image
from safetensors import SafetensorError, safe_open

from survey_lib.experiment import files

COUNT = 27_000  # images of the whole data set


def images(root: Path) -> tuple[list[str], np.ndarray]:
    """File names (n), sorted by class, and pixels (n, 32, 32, 3) in 0..255, from `root/downloads`.

    They come from `eurosat32.safetensors`, which is made from torchvision's folder `eurosat/2750` where it is
    missing (about 20 s) and works without that folder afterwards. Its sha256 is checked each time.

    Raises
    ------
    ValueError
        For a damaged file or an incomplete folder, RuntimeError where there is neither.
    """
    path = root / "downloads" / "eurosat32.safetensors"
    if not path.exists():
        _prepare(root / "downloads", path)
    try:
        with safe_open(path, "numpy") as file:
            about, pixels = file.metadata(), file.get_tensor("images")
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read ({error}); delete it, it is made again") from error
    found = _digest(about["files"], pixels)
    if found != about["sha256"]:
        raise ValueError(
            f"{path} has sha256 {found}, expected {about['sha256']}; delete it, it is made again"
        )
    return about["files"].split("\n"), pixels


def _prepare(folder: Path, path: Path) -> None:
    from torchvision.datasets import EuroSAT  # slow to import

    samples = EuroSAT(folder).samples
    if len(samples) != COUNT:
        raise ValueError(f"{folder / 'eurosat'} holds {len(samples)} images of {COUNT}; get the missing ones")
    pixels = np.stack([halved(np.asarray(Image.open(name))) for name, _ in samples])
    names = "\n".join(Path(name).name for name, _ in samples)
    about = {"files": names, "sha256": _digest(names, pixels)}
    files.replace(path, safetensors.numpy.save({"images": pixels}, about))


def _digest(names: str, pixels: np.ndarray) -> str:
    return hashlib.sha256(names.encode() + pixels.tobytes()).hexdigest()


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
