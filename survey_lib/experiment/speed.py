"""From mask to measured time: every variant of a model, in every runtime that is installed, timed in turns.

    chain    time and file size of dense, masked, cut, aligned, compiled and ONNX models, beside the MACs
    layers   each operator of the dense, cut and aligned model, with the two ceilings of the machine
    kernels  sparse matrix products beside the dense one

Published in data/results/speed/NAME.csv. They are measurements of a machine and no runs: `survey verify`
cannot compute them again.
"""

import importlib.util
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import safetensors.torch
import torch
from torch import Tensor, nn

from survey_lib.experiment.data.sources import REPOSITORY
from survey_lib.experiment.environment import one_thread
from survey_lib.experiment.networks import models
from survey_lib.experiment.variants import variants
from survey_lib.measure import compare_latency, machine, measure, reductions
from survey_lib.measure.export import OnnxModel, export_onnx, quantize_onnx
from survey_lib.measure.roofline import ceilings, operators
from survey_lib.measure.sparse_kernels import crossover
from survey_lib.repository import commit, versions

FOLDER = REPOSITORY / "data" / "results" / "speed"
PARTS = ("chain", "layers", "kernels")
# Models with their pixels; 1x1 shortcuts, so that every width halves
PUBLISHED = {"torchvision:resnet18": 64, "resnet-20-b": 32}
BATCHES, THREADS = (1, 16, 64), (1, 2)
USUAL = 16  # batch of the roofline and of torch.compile, which takes half a minute a model
ROUNDS = 5
DEPLOYED = ("dense", "aligned")  # compiled and exported; the rest is timed eagerly


def subject(name: str, pixels: int) -> tuple[nn.Module, Tensor]:
    """A model by name with ten classes and an example of two images.

    Weights are random: time does not read them.

    Parameters
    ----------
    name : str
        Name of the model.
    pixels : int
        A side of the images.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    images = torch.randn(2, 3, pixels, pixels, generator=torch.Generator().manual_seed(0))
    return models.build(name, 10, (3, pixels, pixels)), images


def deployed(made: Mapping[str, nn.Module], example: Tensor, folder: Path) -> dict[tuple[str, str], Path]:
    """ONNX files, float32 and int8, of the variants that are deployed.

    None without the extra `deploy`.

    Parameters
    ----------
    made : Mapping[str, nn.Module]
        Variants by name.
    example : Tensor
        An input of its forward.
    folder : Path
        Folder of the files.
    """
    files: dict[tuple[str, str], Path] = {}
    for name in DEPLOYED if importlib.util.find_spec("onnxruntime") else ():
        files[name, "onnx"] = export_onnx(made[name], example, folder / f"{name}.onnx")["path"]
        files[name, "onnx int8"] = quantize_onnx(files[name, "onnx"], folder / f"{name}-int8.onnx")
    return files


def chain(
    model: nn.Module,
    example: Tensor,
    *,
    batches: Sequence[int] = BATCHES,
    threads: Sequence[int] = THREADS,
    seconds: float = 0.2,
    compiled: bool = True,
) -> pd.DataFrame:
    """Time every variant of `model` in every runtime, in turns; the dense model in eager mode is the reference.

    Parameters
    ----------
    model : nn.Module
        The network.
    example : Tensor
        (n, ...); its first image is repeated to each batch size.
    batches : Sequence[int], default BATCHES
        Batch sizes.
    threads : Sequence[int], default THREADS
        Numbers of threads.
    seconds : float, default 0.2
        Time for all rounds of one variant.
    compiled : bool, default True
        Also by torch.compile.

    Returns
    -------
    pd.DataFrame
        One row a variant, runtime, batch and number of threads, with the columns of `compare_latency` and
        speedup_theoretical = dense MACs / kept MACs, speedup_measured = dense time / time (median of the
        rounds, quartiles _low and _high), parameters, file_bytes.
    """
    made = variants(model, example)
    costs = {name: _costs(one, made["dense"], example) for name, one in made.items()}
    tables = []
    with tempfile.TemporaryDirectory() as folder:
        files = deployed(made, example, Path(folder))
        sizes_on_disk = {key: path.stat().st_size for key, path in files.items()}
        for batch in batches:
            images = example[:1].expand(batch, *example.shape[1:]).contiguous()
            for count in threads:
                timed = {(name, "eager"): one for name, one in made.items()}
                if compiled and (batch, count) == (USUAL, 1):
                    timed |= {(name, "compiled"): torch.compile(made[name]) for name in DEPLOYED}
                timed |= {key: OnnxModel(path, count) for key, path in files.items()}
                tables.append(_timed(timed, images, count, seconds))
    table = pd.concat(tables, ignore_index=True)
    table["file_bytes"] = [
        sizes_on_disk.get(key, costs[key[0]]["file_bytes"])
        for key in zip(table["variant"], table["runtime"], strict=True)
    ]
    for column in ("macs", "parameters", "speedup_theoretical"):
        table[column] = [costs[name][column] for name in table["variant"]]
    return table


def _costs(one: nn.Module, dense: nn.Module, example: Tensor) -> dict:
    counted = measure(one, example)
    state = {name: tensor.contiguous() for name, tensor in one.state_dict().items()}
    saved = reductions(measure(dense, example), counted)["theoretical_speedup"]
    return counted | {"speedup_theoretical": saved, "file_bytes": len(safetensors.torch.save(state))}


def _timed(
    timed: Mapping[tuple[str, str], nn.Module], images: Tensor, threads: int, seconds: float
) -> pd.DataFrame:
    table = compare_latency(timed, images, threads=threads, seconds=seconds, rounds=ROUNDS)
    table[["variant", "runtime"]] = table.pop("model").tolist()
    slow = {"speedup_measured": "ratio", "speedup_low": "ratio_high", "speedup_high": "ratio_low"}
    return table.assign(**{name: 1 / table[ratio] for name, ratio in slow.items()})


def within_runtime(table: pd.DataFrame) -> pd.DataFrame:
    """`chain` with what pruning alone gains: the time over that of the dense model in the same runtime.

    pruning = dense time / time, both in one runtime at one batch and number of threads, with the bounds _low
    and _high: the worst case of both quartiles. Rows of a runtime in which no dense model was timed are left
    out.
    """
    same = ["model", "runtime", "batch", "threads"]
    speed = ["speedup_measured", "speedup_low", "speedup_high"]
    dense = table.loc[table["variant"] == "dense", [*same, *speed]]
    both = table.merge(dense, on=same, suffixes=("", "_dense"))
    itself = both["variant"] == "dense"
    both["pruning"] = both["speedup_measured"] / both["speedup_measured_dense"]
    both["pruning_low"] = (both["speedup_low"] / both["speedup_high_dense"]).mask(itself, 1.0)
    both["pruning_high"] = (both["speedup_high"] / both["speedup_low_dense"]).mask(itself, 1.0)
    return both.drop(columns=[f"{name}_dense" for name in speed])


def layers(model: nn.Module, example: Tensor) -> pd.DataFrame:
    """Each operator of the dense, cut and aligned model at one thread, with the machine's `peak` and `bandwidth`.

    Parameters
    ----------
    model : nn.Module
        The network.
    example : Tensor
        An input of its forward.
    """
    limits = ceilings()
    images = example[:1].expand(USUAL, *example.shape[1:]).contiguous()
    found = variants(model, example)
    tables = [
        operators(found[name], images).assign(variant=name, batch=USUAL, **limits)
        for name in ("dense", "cut", "aligned")
    ]
    return pd.concat(tables).rename_axis("place").reset_index()


def measure_all(
    pixels: Mapping[str, int] = PUBLISHED,
    *,
    seconds: float = 0.2,
    batches: Sequence[int] = BATCHES,
    compiled: bool = True,
) -> dict[str, pd.DataFrame]:
    """All three parts for the named models, each row with machine, versions and commit.

    Parameters
    ----------
    pixels : Mapping[str, int], default PUBLISHED
        Model -> a side of its images.
    seconds : float, default 0.2
        Time for all rounds of one variant.
    batches : Sequence[int], default BATCHES
        Batch sizes.
    compiled : bool, default True
        Also by torch.compile.
    """
    subjects = {name: subject(name, size) for name, size in pixels.items()}
    parts = {
        "chain": partial(chain, seconds=seconds, batches=batches, compiled=compiled),
        "layers": layers,
    }
    there = {"machine": machine(), **versions(("torch", "onnxruntime"))}
    there |= {"mkl": torch.backends.mkl.is_available(), "commit": commit()}
    with one_thread():
        found = {"kernels": crossover(seconds=seconds / 4)}
        for part, of in parts.items():
            tables = [of(*one).assign(model=name, pixels=pixels[name]) for name, one in subjects.items()]
            found[part] = pd.concat(tables, ignore_index=True)
    return {part: found[part].assign(**there) for part in PARTS}


def write(found: Mapping[str, pd.DataFrame], folder: Path = FOLDER) -> None:
    """Write each part as NAME.csv with six significant digits.

    Parameters
    ----------
    found : Mapping[str, pd.DataFrame]
        What `measure_all` returned.
    folder : Path, default FOLDER
        Folder of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in found.items():
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g", lineterminator="\n")


def read(folder: Path = FOLDER) -> dict[str, pd.DataFrame]:
    """The published measurement, one table a part. FileNotFoundError says how to make one."""
    paths = {name: folder / f"{name}.csv" for name in PARTS}
    if missing := [name for name, path in paths.items() if not path.exists()]:
        raise FileNotFoundError(f"{folder} has no {', '.join(missing)}; measure with: survey speed --publish")
    return {name: pd.read_csv(path, keep_default_na=False, na_values=[""]) for name, path in paths.items()}
