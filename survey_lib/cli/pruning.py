"""What `survey prune` does; imported only when it runs, since it brings torch."""

import copy
import importlib
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from tqdm import tqdm

import survey_lib
from survey_lib.catalogue import find
from survey_lib.cli.report import Report
from survey_lib.experiment import files
from survey_lib.experiment.data import loaders
from survey_lib.experiment.networks import models
from survey_lib.experiment.networks.fitting import check_fit
from survey_lib.experiment.runs import trained
from survey_lib.experiment.runs.train import evaluate, fit
from survey_lib.measure import compare_latency, machine, measure
from survey_lib.measure.export import export_onnx

BATCHES, BATCH_SIZE = 4, 64
RATE = 0.02  # of fine-tuning, as in the studies


def prune_once(
    model: str,
    method: str,
    sparsity: float | None,
    macs: float | None,
    parameters: float | None,
    weights: str | None,
    dataset: str | None,
    epochs: int,
    out: Path | None,
    onnx: Path | None,
    html: Path | None,
    seed: int,
) -> Report:
    """Build, prune, fine-tune, measure, save.

    Parameters
    ----------
    model : str
        A name, see `build`.
    method : str
        A name of the catalogue.
    sparsity : float | None
        Fraction to remove.
    macs : float | None
        In its place, the share of the MACs that may stay.
    parameters : float | None
        In its place, the share of the parameters that may stay.
    weights : str | None
        A file with the weights of the model.
    dataset : str | None
        To prune and fine-tune on.
    epochs : int
        Epochs of fine-tuning.
    out : Path | None
        File of the pruned model.
    onnx : Path | None
        File of its ONNX export.
    html : Path | None
        File of the report.
    seed : int
        Seed of what is drawn at random.

    Raises
    ------
    ValueError
        Before any work, for a wrong wish; or an OSError.
    """
    chosen = find(method)
    theirs = model.startswith(models.TORCHVISION)
    if theirs and dataset is None and (epochs or chosen.looks_at_data):
        raise ValueError(f"{'fine-tuning' if epochs else method} needs images with labels; give --data")
    wishes = {"sparsity": sparsity, "macs": macs, "parameters": parameters}
    wanted = [path for path in (out, onnx, html) if path]
    for path in wanted:
        files.new(path)
    if len(set(wanted)) < len(wanted):
        raise ValueError("--out, --onnx and --html name one file twice; give two files")
    data, example, classes = inputs(model, dataset)
    dense, notes = _network(model, weights, example, classes, seed)
    check_fit(dense, example, classes, f"{model} on {data.name if data else 'ImageNet-sized images'}")
    result = survey_lib.prune(dense, method, **wishes, example=example, batches=_batches(data), seed=seed)
    networks = {"dense": dense, "cut" if result.plan else "masked": result.model}
    if epochs:
        result = replace(result, model=_finetuned(result, data, epochs, seed))
        networks[f"fine-tuned, {epochs} epoch{'s' if epochs > 1 else ''}"] = result.model
    asked = ", ".join(f"{name} {value:g}" for name, value in wishes.items() if value is not None)
    stages = _measured(networks, example, data)
    notes += _doubts(stages, classes, bool(result.plan), data)
    report = Report(model, method, asked, notes, stages, result, machine(), len(data.test[1]) if data else 0)
    if out:
        survey_lib.save(result, out)
        report.written.append(f"saved {out}: survey_lib.load(path, dense_model) rebuilds it")
    if onnx:
        done = export_onnx(result.model, example, onnx)
        report.written.append(
            f"exported {onnx}, {done['bytes'] / 1e6:.2f} MB; it differs from eager by {done['error']:.0e}"
        )
    if html:
        files.replace(html, report.html())
        report.written.append(f"wrote {html}")
    return report


def inputs(model: str, dataset: str | None) -> tuple[loaders.Data | None, Tensor, int]:
    """Data, an example and the number of classes.

    Parameters
    ----------
    model : str
        name, for the message of an error.
    dataset : str | None
        Name; without one, ImageNet's shape and no data.
    """
    if dataset is None and model.startswith(models.TORCHVISION):
        return None, torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0)), 1000
    data = loaders.load(dataset or "eurosat32-mini")
    return data, data.train[0][:1], len(data.classes)


def _batches(data: loaders.Data | None) -> list | None:
    if data is None:
        return None
    splits = [tensor[: BATCHES * BATCH_SIZE].split(BATCH_SIZE) for tensor in data.train]
    return list(zip(*splits, strict=True))


def _network(
    name: str, weights: str | None, example: Tensor, classes: int, seed: int
) -> tuple[nn.Module, list[str]]:
    """The dense network in evaluation mode, and what must be said about its weights."""
    network, notes = build(name, classes, tuple(example.shape[1:]), seed), []
    ours = name in models.MODELS or name.startswith(models.TORCHVISION)
    if weights:
        try:
            state = trained.load_trained(weights).state_dict() if weights in trained.SHA256 else None
            network.load_state_dict(state or safetensors.torch.load_file(weights))
        except (SafetensorError, RuntimeError, OSError) as error:
            raise ValueError(f"{weights} does not hold the weights of {name}: {error}") from error
    elif ours:
        notes.append(
            f"UNTRAINED: the weights are random (seed {seed}), so no accuracy here says anything about the method; "
            "give --weights, a safetensors file or resnet-8-eurosat32, which comes with the course"
        )
    return network.eval(), notes


def build(name: str, classes: int, shape: tuple[int, ...], seed: int) -> nn.Module:
    """A model of the library, of torchvision, or what `package.module:function` returns.

    Parameters
    ----------
    name : str
        Name of the model, or package.module:function.
    classes : int
        Classes of the last layer.
    shape : tuple[int, ...]
        Shape of an image.
    seed : int
        Seed of what is drawn at random.

    Raises
    ------
    ValueError
        For a name that is none of these.
    """
    module, _, function = name.partition(":")
    if not function or name.startswith(models.TORCHVISION):
        return models.build(name, classes, shape, seed)
    if "" not in sys.path:
        sys.path.insert(0, "")  # an installed command does not look in the folder that it is called from
    torch.manual_seed(seed)
    try:
        make = getattr(importlib.import_module(module), function)
        made = make() if callable(make) else make
    except Exception as error:  # a path is no name of a module; a module may raise anything
        raise ValueError(
            f"{name!r} cannot be imported and called without arguments ({type(error).__name__}: {error}); "
            "give package.module:function"
        ) from error
    if not isinstance(made, nn.Module):
        raise ValueError(f"{name!r} is no model but {type(made).__name__}; give package.module:function")
    return made


def _finetuned(result: survey_lib.PruneResult, data: loaders.Data, epochs: int, seed: int) -> nn.Module:
    """A copy of the pruned network, trained as the studies recover theirs."""
    network = copy.deepcopy(result.model)
    masks = None if result.plan else result.masks
    with tqdm(desc="fine-tuning", total=epochs, disable=None) as bar:
        fit(network, data, epochs=epochs, lr=RATE, seed=seed, masks=masks, on_epoch=lambda *_: bar.update())
    return network.eval()


def _measured(networks: dict[str, nn.Module], example: Tensor, data: loaders.Data | None) -> pd.DataFrame:
    """One row a stage: entries, MACs of one sample, bytes as a safetensors file, seconds, test accuracy."""
    timed = compare_latency(networks, example)["median_s"]
    rows = []
    for (name, network), seconds in zip(networks.items(), timed, strict=True):
        counts = measure(network, example)
        state = {key: value.clone().contiguous() for key, value in network.state_dict().items()}
        rows.append(
            {
                "network": name,
                "parameters": counts["parameters"],
                "nonzero": counts["nonzero_parameters"],
                "macs": counts["macs"],
                "file_bytes": len(safetensors.torch.save(state)),
                "seconds": seconds,
                "test_accuracy": evaluate(network, data.test)["accuracy"] if data else None,
            }
        )
    return pd.DataFrame(rows)


def _doubts(stages: pd.DataFrame, classes: int, cut: bool, data: loaders.Data | None) -> list[str]:
    notes = []
    if data is None:
        notes.append("no data: accuracy is not measured; give --data")
    elif stages["test_accuracy"][0] < 2 / classes:
        notes.append(
            f"the dense network is about as good as guessing one of {classes} classes: is it trained for this data?"
        )
    if not cut:
        notes.append(
            "a mask alone saves neither time nor bytes: the zeros are still stored and multiplied (notebook 12)"
        )
    return notes
