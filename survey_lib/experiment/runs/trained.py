"""The trained network of the course: shipped with the repository, checked, and made by `python -m` of this module."""

import hashlib
import json

import safetensors.torch
from torch import nn

from survey_lib.experiment import files
from survey_lib.experiment.data import loaders
from survey_lib.experiment.data.sources import REPOSITORY
from survey_lib.experiment.environment import one_thread
from survey_lib.experiment.networks import models
from survey_lib.experiment.runs.train import evaluate, fit
from survey_lib.lookup import known

FOLDER = REPOSITORY / "data" / "checkpoints"
SHA256 = {"resnet-8-eurosat32": "850bbfa4388b7641baed3605fd7d0a5d5aaaa6e8e6a5104a68af5caca961f9d4"}
RECIPE = {"epochs": 10, "lr": 0.2, "batch_size": 64, "weight_decay": 5e-4, "seed": 0}


def load_trained(name: str) -> nn.Module:
    """A trained network of the repository, in evaluation mode.

    resnet-8-eurosat32 reads images as `data.load("eurosat32-mini")` and "eurosat32" return them. It has seen
    none of their validation and test images.

    Raises
    ------
    ValueError
        For another name or a changed file.

    Examples
    --------
    >>> model = load_trained("resnet-8-eurosat32")
    >>> sum(p.numel() for p in model.parameters()), model.training
    (75290, False)
    """
    sha256 = SHA256[known("trained network", name, SHA256)]
    content = files.verified(FOLDER / f"{name}.safetensors", sha256, "restore it from the repository")
    model = models.build("resnet-8", 10, (3, 32, 32))
    model.load_state_dict(safetensors.torch.load(content))
    return model.eval()


def train() -> str:
    """Train resnet-8-eurosat32 afresh, write its file, and return its accuracies and sha256 as JSON."""
    data, mini = loaders.load("eurosat32"), loaders.load("eurosat32-mini")
    model = models.build("resnet-8", len(data.classes), data.in_shape, RECIPE["seed"])
    with one_thread():
        fit(model, data, **RECIPE)
        splits = {"validation": data.validation, "test": data.test, "eurosat32-mini test": mini.test}
        accuracy = {name: round(evaluate(model, split)["accuracy"], 4) for name, split in splits.items()}
    content = safetensors.torch.save({name: value.contiguous() for name, value in model.state_dict().items()})
    files.replace(FOLDER / "resnet-8-eurosat32.safetensors", content)
    return json.dumps(accuracy | {"sha256": hashlib.sha256(content).hexdigest()})


if __name__ == "__main__":
    print(train())
