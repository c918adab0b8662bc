"""What `survey prune` and `survey doctor` do; imported only when they run, since it brings torch."""

from __future__ import annotations

import importlib
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

import survey_lib
from survey_lib.catalogue import find
from survey_lib.experiment.data import loaders as data
from survey_lib.experiment.networks import models
from survey_lib.measure import compare_latency, machine, measure
from survey_lib.measure.export import export_onnx
from survey_lib.steps.budget import budget_of

BATCHES, BATCH_SIZE = 4, 64
PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "pandas",
    "matplotlib",
    "papermill",
    "nbval",
    "distributed",
    "onnxruntime",
)


def prune_once(
    model: str,
    method: str,
    sparsity: float | None,
    macs: float | None,
    parameters: float | None,
    weights: Path | None,
    dataset: str | None,
    out: Path | None,
    onnx: Path | None,
    seed: int,
) -> str:
    """Build, prune, measure, save; the report as text. Raises ValueError before any work for a wrong name."""
    find(method)
    budget_of(sparsity, macs, parameters, None, None)
    for path in filter(None, (out, onnx)):
        if not path.absolute().parent.is_dir():
            raise ValueError(f"{path} cannot be written: there is no folder {path.absolute().parent}")
    classes, example, batches = inputs(model, dataset)
    dense = build(model, classes, tuple(example.shape[1:]), seed)
    if weights:
        try:
            dense.load_state_dict(load_file(weights))
        except SafetensorError as error:
            raise ValueError(f"{weights} is not a safetensors file ({error}); make one of a state dict with "
                             "safetensors.torch.save_file") from error  # fmt: skip
        except RuntimeError as error:
            raise ValueError(f"{weights} does not hold the weights of {model}: {error}") from error
    dense.eval()
    wishes = {"sparsity": sparsity, "macs": macs, "parameters": parameters}
    result = survey_lib.prune(dense, method, **wishes, example=example, batches=batches, seed=seed)
    asked = ", ".join(f"{name} {value:g}" for name, value in wishes.items() if value is not None)
    lines = [f"{model} by {method}: asked for {asked}", repr(result), compare(dense, result, example)]
    if out:
        survey_lib.save(result, out)
        lines.append(f"saved {out}: survey_lib.load(path, dense_model) rebuilds it")
    if onnx:
        done = export_onnx(result.model, example, onnx)
        lines.append(f"exported {onnx}, {done['bytes'] / 1e6:.2f} MB; it differs from eager by {done['error']:.0e}")
    return "\n".join(lines)


def inputs(model: str, dataset: str | None) -> tuple[int, Tensor, list | None]:
    """Number of classes, an example and batches: those of a data set, or ImageNet's shape and no data."""
    if dataset is None and model.startswith(models.TORCHVISION):
        return 1000, torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0)), None
    read = data.load(dataset or "eurosat32-mini")
    splits = [tensor[: BATCHES * BATCH_SIZE].split(BATCH_SIZE) for tensor in read.train]
    return len(read.classes), read.train[0][:1], list(zip(*splits, strict=True))


def build(name: str, classes: int, shape: tuple[int, ...], seed: int) -> nn.Module:
    """A model of the library, of torchvision, or what `package.module:function` returns.

    Raises ValueError for a name that is none of these.
    """
    module, _, function = name.partition(":")
    if not function or name.startswith(models.TORCHVISION):
        return models.build(name, classes, shape, seed)
    if "" not in sys.path:
        sys.path.insert(0, "")  # an installed command does not look in the folder that it is called from
    try:
        made = getattr(importlib.import_module(module), function)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(f"{name!r} cannot be imported ({error}); give package.module:function") from error
    torch.manual_seed(seed)
    try:
        model = made()
    except Exception as error:
        raise ValueError(f"{name}() raises {type(error).__name__}: {error}; it is called without arguments") from error
    if not isinstance(model, nn.Module):
        raise ValueError(f"{name}() returns a {type(model).__name__}, not a torch module")
    return model


def compare(dense: nn.Module, result: survey_lib.PruneResult, example: Tensor) -> str:
    """Parameters, MACs of one sample and measured time, before and after."""
    counted = [measure(dense, example), measure(result.model, example)]
    timed = compare_latency({"dense": dense, "pruned": result.model}, example)
    table = pd.DataFrame(
        {
            "parameters": [f"{row['parameters']:,}" for row in counted],
            "nonzero": [f"{row['nonzero_parameters']:,}" for row in counted],
            "MACs": [f"{row['macs']:,}" for row in counted],
            "median time": [f"{seconds * 1e3:.3f} ms" for seconds in timed["median_s"]],
        },
        index=["dense", "pruned"],
    )
    note = (
        "" if result.plan else "\nA mask alone saves no time: the zeros are still multiplied (notebook 12)."
    )
    return f"{table.to_string()}\non {machine()}, one thread, batch 1{note}"


def examine() -> str:
    """Versions, threads, data sets and results of this installation, one line each."""
    lines = [
        f"python {platform.python_version()} on {platform.platform()}, survey_lib {survey_lib.__version__}"
    ]
    lines += [f"{name} {_version(name)}" for name in PACKAGES]
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    lines.append(
        f"cores {os.cpu_count()}, torch threads {torch.get_num_threads()}, accelerator {accelerator}"
    )
    lines.append(f"data in {data.folder()} (SURVEY_DATA chooses another folder)")
    lines += [f"  {name}: {_found(name)}" for name in data.SOURCES]
    return "\n".join(lines)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _found(name: str) -> str:
    try:
        read = data.load(name)
    except (FileNotFoundError, ValueError) as error:
        return "not found. " + str(error).partition("Ways to get it:\n")[2].strip().splitlines()[0]
    return f"found, {len(read.train[1]):,} / {len(read.validation[1]):,} / {len(read.test[1]):,} images"
