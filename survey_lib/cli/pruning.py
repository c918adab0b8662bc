"""What `survey prune` does; imported only when it runs, since it brings torch."""

import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path
from pkgutil import resolve_name

import click
import pandas as pd
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import survey_lib
from survey_lib.cli import show
from survey_lib.experiment import files
from survey_lib.experiment.data import loaders
from survey_lib.experiment.networks import models
from survey_lib.experiment.runs import checkpoint
from survey_lib.experiment.runs.train import evaluate
from survey_lib.measure import compare_latency, machine, measure

BATCHES, BATCH_SIZE = 4, 64  # that a method looks at
GUESSING = (
    "the dense network is about as good as guessing, so no accuracy here says anything about the method; "
    "give --weights, a safetensors file or resnet-8-eurosat32, which comes with the course"
)


def prune_once(
    model: str,
    method: str,
    weights: str | None,
    data: str,
    epochs: int,
    out: Path | None,
    **budget: float | None,
) -> None:
    """Build, prune, fine-tune, measure, report, save.

    Parameters
    ----------
    model : str
        A name, see `build`.
    method : str
        A name of the catalogue.
    weights : str | None
        A file with the weights of the model.
    data : str
        Name of the data set.
    epochs : int
        Epochs of fine-tuning.
    out : Path | None
        File of the pruned model.
    **budget : float | None
        One of sparsity, macs and parameters.

    Raises
    ------
    ValueError
        Before any work, for a wrong wish; or an OSError.
    """
    if out:
        files.new(out)
    images = loaders.load(data)
    example, classes = images.train[0][:1], len(images.classes)
    dense = _network(model, weights, example, classes)
    models.check_fit(dense, example, classes, f"{model} on {data}")
    torch.manual_seed(0)
    batches = DataLoader(TensorDataset(*images.train), BATCH_SIZE, shuffle=True)
    result = survey_lib.prune(
        dense, method, **budget, example=example, batches=list(islice(batches, BATCHES))
    )
    networks = {"dense": dense, "cut" if result.plan else "masked": result.model}
    if epochs:
        masks = None if result.plan else result.masks
        tuned = survey_lib.finetune(result.model, batches, epochs=epochs, masks=masks).eval()
        result, networks["fine-tuned"] = replace(result, model=tuned), tuned
    show(_measured(networks, example, images))
    click.echo("\n".join([*_notes(dense, images), repr(result)]))
    if out:
        survey_lib.save(result, out)
        click.echo(f"saved {out}: survey_lib.load(path, dense_model) rebuilds it")


def _network(name: str, weights: str | None, example: Tensor, classes: int) -> nn.Module:
    """The dense network in evaluation mode."""
    network = build(name, classes, tuple(example.shape[1:]))
    if weights:
        try:
            state = checkpoint.load_trained(weights).state_dict() if weights in checkpoint.SHA256 else None
            network.load_state_dict(state or safetensors.torch.load_file(weights))
        except (SafetensorError, RuntimeError, OSError) as error:
            raise ValueError(f"{weights} does not hold the weights of {name}: {error}") from error
    return network.eval()


def build(name: str, classes: int, shape: tuple[int, ...]) -> nn.Module:
    """A model of the library, of torchvision, or what `package.module:function` returns.

    Parameters
    ----------
    name : str
        Name of the model, or package.module:function.
    classes : int
        Classes of the last layer.
    shape : tuple[int, ...]
        Shape of an image.

    Raises
    ------
    ValueError
        For a name that is none of these.
    """
    if ":" not in name or name.startswith(models.TORCHVISION):
        return models.build(name, classes, shape)
    if "" not in sys.path:
        sys.path.insert(0, "")  # an installed command does not look in the folder that it is called from
    torch.manual_seed(0)
    try:
        made = resolve_name(name)()
    except Exception as error:  # a path is no name of a module; a module may raise anything
        why = f"cannot be imported and called without arguments ({type(error).__name__}: {error})"
        raise ValueError(f"{name!r} {why}; give package.module:function") from error
    if not isinstance(made, nn.Module):
        raise ValueError(f"{name!r} makes no model but {type(made).__name__}; give package.module:function")
    return made


def _measured(networks: dict[str, nn.Module], example: Tensor, images: loaders.Data) -> pd.DataFrame:
    """One row a stage; ± is one binomial standard error of an accuracy on the test images."""
    times = compare_latency(networks, example)["median_s"]
    rows = []
    for (name, network), seconds in zip(networks.items(), times, strict=True):
        counts, accuracy = measure(network, example), evaluate(network, images.test)["accuracy"]
        error = (accuracy * (1 - accuracy) / len(images.test[1])) ** 0.5
        row = {
            "network": name,
            "parameters": f"{counts['parameters']:,}",
            "nonzero": f"{counts['nonzero_parameters']:,}",
            "MACs": f"{counts['macs']:,}",
            "MB": f"{counts['bytes'] / 1e6:.2f}",
            "time, ms": f"{1e3 * seconds:.2f}",
            "test accuracy, %": f"{100 * accuracy:.1f} ± {100 * error:.1f}",
        }
        rows.append(row)
    return pd.DataFrame(rows)


def _notes(dense: nn.Module, images: loaders.Data) -> list[str]:
    """What a reader must know to judge the table."""
    tested = f"{len(images.test[1]):,} test images, ± one standard error; nothing was chosen by them"
    notes = [f"time: median of one input on one thread, {machine()}", f"accuracy: {tested}"]
    guessing = evaluate(dense, images.test)["accuracy"] < 2 / len(images.classes)
    return [*notes, GUESSING] if guessing else notes
