"""Trained networks in files that are checked at each use: the dense network of a seed, and that of the course.

The first is trained once and shared by all methods. The second is shipped with the repository;
data/checkpoints/README.md says how it was made.
"""

import copy
import hashlib
import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from survey_lib.experiment import files
from survey_lib.experiment.data.loaders import Data, shared
from survey_lib.experiment.data.sources import REPOSITORY
from survey_lib.experiment.networks import models
from survey_lib.experiment.runs.config import RunConfig
from survey_lib.experiment.runs.train import evaluate, fit
from survey_lib.lookup import known
from survey_lib.measure import stopwatch

FOLDER = REPOSITORY / "data" / "checkpoints"
SHA256 = {"resnet-8-eurosat32": "850bbfa4388b7641baed3605fd7d0a5d5aaaa6e8e6a5104a68af5caca961f9d4"}
RECIPE = {"epochs": 10, "lr": 0.2, "batch_size": 64, "weight_decay": 5e-4, "seed": 0}


@dataclass(frozen=True)
class Dense:
    """The dense network of a seed: trained model, weights at `rewind_epoch`, curve, seconds (wall, CPU) of training."""

    model: nn.Module
    rewind: dict[str, Tensor]
    curve: list[dict]
    spent: dict[str, float]


def data_of(config: RunConfig) -> Data:
    """The data set of a run, as its config wants it split and scaled; RuntimeError where its device is missing."""
    try:
        torch.empty(0, device=config.device)
    except (RuntimeError, AssertionError) as error:
        why = str(error).splitlines()[0].partition(". ")[0]
        what = f"device: {config.device} does not work on this machine ({why})"
        way = "sweep a copy of the study's file with device: cpu: survey sweep my_study.yaml"
        raise RuntimeError(f"{what}; {way}") from error
    return shared(config.data, config.device, config.validation, config.inputs)


def fresh(config: RunConfig, data: Data, seed: int) -> nn.Module:
    """The untrained model of a run.

    Parameters
    ----------
    config : RunConfig
        Config of the run.
    data : Data
        Its data set.
    seed : int
        Seed of what is drawn at random.
    """
    return models.build(config.model, len(data.classes), data.in_shape, seed, config.init).to(config.device)


def recipe(config: RunConfig, data: Data) -> dict:
    """The arguments of `fit` that all training of a run shares.

    Parameters
    ----------
    config : RunConfig
        Config of the run.
    data : Data
        Its data set.
    """
    fields = config.model_dump(include={"optimizer", "lr_schedule", "batch_size", "weight_decay", "seed"})
    return fields | {"test": data.test if config.track_test else None}


def dense(config: RunConfig, data: Data, folder: Path) -> Dense:
    """The dense network of this config's seed, from its checkpoint or trained now.

    Two processes that train it at once write the same file. A checkpoint that is damaged, of another run, or
    does not have its stored validation accuracy on this data is named in a warning and trained again (B53).

    Parameters
    ----------
    config : RunConfig
        Config of a run.
    data : Data
        Its data set.
    folder : Path
        Folder of the checkpoints.
    """
    path = Path(folder) / f"dense-{config.dense_key()}.safetensors"
    if os.path.lexists(path):
        try:
            return _read(config, data, path)
        except ValueError as error:
            warnings.warn(f"{path.name} is trained again: {error}", stacklevel=2)
    content = _trained(config, data)
    if path.is_dir() and not path.is_symlink():
        files.set_aside(path)
    files.replace(path, content)
    return _read(config, data, path)


def _read(config: RunConfig, data: Data, path: Path) -> Dense:
    """The checkpoint as a network.

    ValueError if it is not the file of this config, or its weights, data and preprocessing do not belong together.
    """
    files.check_plain(path)
    try:
        with safe_open(path, "pt") as file:
            stored = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"it is no safetensors file that can be read ({error})") from error
    if stored.get("key") != config.dense_key():
        raise ValueError(f"it holds the dense network {stored.get('key')}, not {config.dense_key()}")
    if stored.get("sha256") != _digest(tensors, stored.get("about", "")):
        raise ValueError("its content does not have the stored sha256")
    about, model = json.loads(stored["about"]), fresh(config, data, config.seed)
    model.load_state_dict(_part(tensors, "trained/"))
    found, stored = evaluate(model, data.validation)["accuracy"], about["validation_accuracy"]
    before, now = about["preprocessing"], _preprocessing(data)
    if before != now or abs(found - stored) > 2 / len(data.validation[1]):
        stored, found = f"{stored:.4f} with {before}", f"{found:.4f} with {now}"
        raise ValueError(f"stored validation accuracy {stored}, found {found}")
    rewind = {name: tensor.to(config.device) for name, tensor in _part(tensors, "rewind/").items()}
    return Dense(model, rewind, about["curve"], about["spent"])


def _part(tensors: dict[str, Tensor], start: str) -> dict[str, Tensor]:
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _digest(tensors: dict[str, Tensor], about: str) -> str:
    """sha256 over the notes and over name, type, shape and bytes of each tensor."""
    digest = hashlib.sha256(about.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _preprocessing(data: Data) -> dict:
    return {"data": data.name, "mean": list(data.mean), "std": list(data.std)}


def _trained(config: RunConfig, data: Data) -> bytes:
    """Train the dense network; the content of its checkpoint."""
    model, early = fresh(config, data, config.seed), {}

    def keep(epochs_done: int, model: nn.Module) -> None:
        if epochs_done == config.rewind_epoch:
            early.update(copy.deepcopy(model.state_dict()))  # state_dict shares memory with the model (B15)

    keep(0, model)
    read = stopwatch()
    curve = fit(model, data, epochs=config.epochs, lr=config.lr, on_epoch=keep, **recipe(config, data))
    about = {"validation_accuracy": curve[-1]["validation_accuracy"], "curve": curve, "spent": read()}
    notes = json.dumps(about | {"preprocessing": _preprocessing(data)}, allow_nan=False)
    tensors = {f"trained/{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"rewind/{name}": tensor for name, tensor in early.items()}
    tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    told = {"about": notes, "key": config.dense_key(), "sha256": _digest(tensors, notes)}
    return safetensors.torch.save(tensors, told)


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
