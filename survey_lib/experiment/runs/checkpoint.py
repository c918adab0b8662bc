"""The dense checkpoint of a seed: trained once, shared by all methods, checked each time it is used."""

from __future__ import annotations

import copy
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from survey_lib.experiment.data.loaders import Data, shared
from survey_lib.experiment.environment import one_thread
from survey_lib.experiment.networks import models
from survey_lib.experiment.runs.config import RunConfig
from survey_lib.experiment.runs.train import evaluate, fit
from survey_lib.measure.training_costs import stopwatch


@dataclass(frozen=True)
class Dense:
    """The dense network of a seed: trained model, weights at `rewind_epoch`, curve, seconds (wall, CPU) of training."""

    model: nn.Module
    rewind: dict[str, Tensor]
    curve: list[dict]
    spent: dict[str, float]


def data_of(config: RunConfig) -> Data:
    """The data set of a run, as its config wants it split and scaled."""
    return shared(config.data, config.device, config.validation, config.inputs)


def fresh(config: RunConfig, data: Data, seed: int) -> nn.Module:
    """The untrained model of a run."""
    return models.build(config.model, len(data.classes), data.in_shape, seed, config.init).to(config.device)


def recipe(config: RunConfig) -> dict:
    """The arguments of `fit` that all training of a run shares."""
    return config.model_dump(include={"optimizer", "lr_schedule", "batch_size", "weight_decay", "seed"})


def dense(config: RunConfig, data: Data, folder: Path) -> Dense:
    """The dense network of this config's seed, from its checkpoint in `folder` or trained now.

    Two processes that train it at once write the same file. The validation accuracy is measured again and
    compared with the stored one before anything is pruned: ValueError where weights, data and
    preprocessing do not belong together (case B53).
    """
    path = _file(config, folder)
    if not path.exists():
        _train(config, data, path)
    try:
        with safe_open(path, "pt", device=config.device) as file:
            about = json.loads(file.metadata()["about"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a dense checkpoint ({error}); delete it and run again") from error
    states = {part: {name.removeprefix(part + "/"): tensor for name, tensor in tensors.items()
                     if name.startswith(part + "/")} for part in ("trained", "rewind")}  # fmt: skip
    model = fresh(config, data, config.seed)
    model.load_state_dict(states["trained"])
    found = evaluate(model, data.validation)["accuracy"]
    stored, tolerance = about["validation_accuracy"], 2 / len(data.validation[1])
    if about["preprocessing"] != _preprocessing(data) or abs(found - stored) > tolerance:
        raise ValueError(
            f"{path}: stored validation accuracy {stored:.4f} with {about['preprocessing']}, "
            f"measured {found:.4f} with {_preprocessing(data)}; the weights do not belong to this data: "
            "delete the file and run again"
        )
    return Dense(model, states["rewind"], about["curve"], about["spent"])


def prepare(config: RunConfig, folder: Path) -> None:
    """Train the dense network of this config's seed unless its checkpoint is there."""
    path = _file(config, folder)
    if not path.exists():
        with one_thread():
            _train(config, data_of(config), path)


def _file(config: RunConfig, folder: Path) -> Path:
    return Path(folder) / f"dense-{config.dense_key()}.safetensors"


def _preprocessing(data: Data) -> dict:
    return {"data": data.name, "mean": list(data.mean), "std": list(data.std)}


def _train(config: RunConfig, data: Data, path: Path) -> None:
    model, early = fresh(config, data, config.seed), {}

    def keep(epochs_done: int, model: nn.Module) -> None:
        if epochs_done == config.rewind_epoch:
            early.update(copy.deepcopy(model.state_dict()))  # state_dict shares memory with the model (B15)

    keep(0, model)
    read = stopwatch()
    curve = fit(model, data, epochs=config.epochs, lr=config.lr, on_epoch=keep,
                test=data.test if config.track_test else None, **recipe(config))  # fmt: skip
    about = {
        "validation_accuracy": curve[-1]["validation_accuracy"], "curve": curve,
        "spent": read(), "preprocessing": _preprocessing(data),
    }  # fmt: skip
    tensors = {f"trained/{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"rewind/{name}": tensor for name, tensor in early.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            Path(folder) / path.name,
            {"about": json.dumps(about, allow_nan=False)},
        )
        os.replace(Path(folder) / path.name, path)
