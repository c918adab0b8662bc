"""A corrupted copy of a test set: what small shifts of the data do to a pruned network."""

import torch
import torch.nn.functional as F

from survey_lib.experiment.data.loaders import Split

EXAMPLES = 500  # of the test set; each is corrupted in three ways
NOISE = 0.4  # standard deviation, on normalised images
CONTRAST = 0.5


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
