"""Data sets as tensors in memory, normalised with stored statistics; flipped for training, corrupted for tests."""

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from survey_lib.experiment.data.sources import SOURCES, Arrays, Source, folder, split
from survey_lib.lookup import known

Split = tuple[Tensor, Tensor]
# of a corrupted test set
EXAMPLES = 500  # each in three ways
NOISE = 0.4  # standard deviation, on normalised images
CONTRAST = 0.5


@dataclass(frozen=True)
class Data:
    """A data set in memory. Each split is `(x, y)`: x (n, channels, height, width) float, y (n,) integer.

    `mean` and `std` (0..1 scale, one a channel) are what the images were normalised with; `flips` are the
    image axes (2 = up-down, 3 = left-right) that `augment` may use.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flips: tuple[int, ...] = ()

    @property
    def in_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        return tuple(self.train[0].shape[1:])


def check(name: str) -> str:
    """The name if there is such a data set, or a ValueError that lists near matches."""
    return known("data set", name, SOURCES)


def available(name: str) -> bool:
    """Whether the files of a data set are on this machine.

    Examples
    --------
    >>> available("digits")
    True
    """
    try:
        SOURCES[check(name)].read(folder())
    except (FileNotFoundError, RuntimeError):
        return False
    return True


def load(
    name: str, device: str | torch.device = "cpu", validation: int | None = None, inputs: str = "normalised"
) -> Data:
    """A data set by name, in memory on `device`, split into train, validation and test.

    The split is stratified and always the same. Where the source has no official test set (digits)
    one is split off the same way. Images are (x / 255 − mean) / std with the stored statistics. The folder is
    `data` in the repository, or SURVEY_DATA.

    Parameters
    ----------
    name : str
        Name of the data set.
    device : str | torch.device, default 'cpu'
        Where it is kept.
    validation : int, optional
        Images held out, in place of the source's own number.
    inputs : str, default 'normalised'
        normalised, or unit, which leaves images x / 255.

    Raises
    ------
    ValueError
        For an unknown name or changed files.
    FileNotFoundError
        For missing files; the text lists every way to get them.

    Examples
    --------
    >>> [len(split[1]) for split in (load("digits").train, load("digits").validation, load("digits").test)]
    [1247, 250, 300]
    """
    source = SOURCES[check(name)]
    if inputs == "unit":
        source = replace(source, mean=(0.0,) * len(source.mean), std=(1.0,) * len(source.std))
    try:
        parts, classes = source.read(folder())
    except (FileNotFoundError, RuntimeError) as error:  # RuntimeError is torchvision's "not found"
        raise FileNotFoundError(
            f"{name} was not found under {folder()} ({error}). Ways to get it:\n  {source.ways}\n"
            "  elsewhere on this machine: set SURVEY_DATA to the folder that holds it"
        ) from error
    if validation and "validation" in parts:
        raise ValueError(f"{name} has validation images of its own; leave out validation={validation}")
    if "validation" not in parts:
        parts["train"], parts["validation"] = split(parts["train"], validation or source.validation)
    splits = [_tensors(parts[part], source, device) for part in ("train", "validation", "test")]
    return Data(name, *splits, classes, source.mean, source.std, source.flips)


@lru_cache(maxsize=1)
def shared(name: str, device: str = "cpu", validation: int | None = None, inputs: str = "normalised") -> Data:
    """The data set of `load`, read once a process for all runs of a sweep.

    Nobody may change its tensors.

    Parameters
    ----------
    name : str
        Name of the data set.
    device : str, default 'cpu'
        Where it is kept.
    validation : int, optional
        Images held out, in place of the source's own number.
    inputs : str, default 'normalised'
        Normalised or unit.
    """
    return load(name, device, validation, inputs)


def _tensors(arrays: Arrays, source: Source, device: str | torch.device) -> Split:
    images, labels = arrays
    x = torch.tensor(images, dtype=torch.float32).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (source.mean, source.std))
    return ((x - mean) / std).contiguous().to(device), torch.tensor(labels, dtype=torch.int64).to(device)


def augment(x: Tensor, generator: torch.Generator, flips: tuple[int, ...] = ()) -> Tensor:
    """Random flips, an image at a time.

    Draws come from `generator` on the CPU, so every device sees the same images.

    Parameters
    ----------
    x : Tensor
        (n, channels, height, width).
    generator : torch.Generator
        Random generator on the CPU.
    flips : tuple[int, ...], default ()
        axes, 2 = up-down, 3 = left-right.
    """
    for axis in flips:
        chosen = torch.rand(len(x), generator=generator).lt(0.5).view(-1, 1, 1, 1).to(x.device)
        x = torch.where(chosen, x.flip(axis), x)
    return x


def corrupted(split: Split) -> Split:
    """The first 500 examples with Gaussian noise, then blurred by 3x3 means, then at half the contrast.

    Three of the corruptions of hendrycks2019benchmarking at one mild strength each, always the same draw.

    Examples
    --------
    >>> x, y = corrupted((torch.zeros(2, 1, 4, 4), torch.tensor([0, 1])))
    >>> tuple(x.shape), y.tolist()
    ((6, 1, 4, 4), [0, 1, 0, 1, 0, 1])
    """
    x, y = split[0][:EXAMPLES], split[1][:EXAMPLES]
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x.device)
    mean = x.mean((1, 2, 3), keepdim=True)
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return torch.cat([x + NOISE * noise, blurred, mean + CONTRAST * (x - mean)]), y.repeat(3)
