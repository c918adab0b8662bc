"""From mask to measured time: every variant of a model, in every runtime that is installed, timed in turns.

    chain    time and file size of dense, masked, cut, aligned, compiled and ONNX models, beside the MACs
    layers   each operator of the dense, cut and aligned model, with the two ceilings of the machine
    kernels  sparse matrix products beside the dense one

Published in data/results/speed/NAME.csv. They are measurements of a machine and no runs: `survey verify`
cannot compute them again.
"""

import importlib.util
import itertools
import random
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import safetensors.torch
import torch
from torch import Tensor, nn

from survey_lib.catalogue import find
from survey_lib.chain import channels, masks
from survey_lib.chain.coupling import Coupling, group_masks, trace
from survey_lib.chain.selection import keep_largest
from survey_lib.chain.surgery import cut as surgery
from survey_lib.experiment.data.sources import REPOSITORY
from survey_lib.experiment.networks import models
from survey_lib.experiment.runs.train import one_thread
from survey_lib.measure import compare_latency, machine, measure, reductions
from survey_lib.measure.storage import OnnxModel, export_onnx, quantize_onnx
from survey_lib.measure.timing import ceilings, crossover, operators
from survey_lib.prune import prune
from survey_lib.repository import commit, versions

FOLDER = REPOSITORY / "data" / "results" / "speed"
PARTS = ("chain", "layers", "kernels")
# Models with their pixels; 1x1 shortcuts, so that every width halves
PUBLISHED = {"torchvision:resnet18": 64, "resnet-20-b": 32}
BATCHES, THREADS = (1, 16, 64), (1, 2)
USUAL = 16  # batch of the roofline and of torch.compile, which takes half a minute a model
SECONDS, ROUNDS = 0.2, 5  # time for all rounds of one variant
DEPLOYED = ("dense", "aligned")  # compiled and exported; the rest is timed eagerly
ALIGNED = 8  # channels: floats in one AVX2 register
SPREAD = (-3, -2, -1, 1, 2, 3)


def rounded(count: int, size: int) -> int:
    """The multiple of 8 nearest to `count`, at most `size`; a group smaller than that stays whole.

    Parameters
    ----------
    count : int
        Count of channels.
    size : int
        Size of the group.

    Examples
    --------
    >>> rounded(34, 64), rounded(3, 64), rounded(63, 64), rounded(3, 6)
    (32, 8, 64, 6)
    """
    return min(size, max(ALIGNED, ALIGNED * round(count / ALIGNED)))


def widths(coupling: Coupling) -> dict[str, int]:
    """Half of each group, and of groups of more than eight three channels more or less.

    These are widths as rankings across layers leave them, never even by design.
    """
    draw = random.Random(0)
    spread = {group.name: draw.choice(SPREAD) if group.size > 8 else 0 for group in coupling.groups}
    return {group.name: max(1, group.size // 2 + spread[group.name]) for group in coupling.groups}


def keep_of(scores: dict[str, Tensor], counts: dict[str, int]) -> dict[str, Tensor]:
    """Bool masks over the channels of each group: the `counts` best by score.

    Parameters
    ----------
    scores : dict[str, Tensor]
        Scores by group.
    counts : dict[str, int]
        Channels to keep of each group.
    """
    return {name: keep_largest(score, len(score) - counts[name]) for name, score in scores.items()}


def variants(model: nn.Module, example: Tensor) -> dict[str, nn.Module]:
    """Six models by name, in eval mode: what pruning half of `model` can leave behind.

    Parameters
    ----------
    model : nn.Module
        The network.
    example : Tensor
        An input of its forward.

    Returns
    -------
    dict[str, nn.Module]
        * dense: as given
        * masked: half of the filters zero, by L1 norm
        * 2:4: half of the weights zero, two of every four
        * 1x4: half of the weights zero, in blocks of four filters
        * cut: the filters of `masked` cut out; widths are odd, as a ranking across layers leaves them
        * aligned: cut with every width rounded to a multiple of 8: where widths are multiples of 16,
          exactly half
    """
    model = model.eval()
    coupling = trace(model, example)
    row = find("l1-filter")
    scores = channels.score_groups(row.score, channels.collect(model, coupling, row.needs))
    odd = widths(coupling)
    sizes = {group.name: group.size for group in coupling.groups}
    keep = keep_of(scores, odd)
    even = keep_of(scores, {name: rounded(count, sizes[name]) for name, count in odd.items()})
    made = {
        "dense": model,
        "masked": masks.masked_copy(model, group_masks(model, coupling, coupling.balance(keep))),
        "2:4": prune(model, "nm-magnitude:2:4", 0.5).model,
        "1x4": prune(model, "block:1x4", 0.5).model,
        "cut": surgery.cut(model, coupling, keep, example).model,
        "aligned": surgery.cut(model, coupling, even, example).model,
    }
    return {name: one.eval() for name, one in made.items()}


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


def chain(model: nn.Module, example: Tensor, compiled: bool = True) -> pd.DataFrame:
    """Time every variant of `model` in every runtime, in turns; the dense model in eager mode is the reference.

    Parameters
    ----------
    model : nn.Module
        The network.
    example : Tensor
        (n, ...); its first image is repeated to each batch size.
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
    costs = pd.DataFrame(
        [{"variant": name} | _costs(one, made["dense"], example) for name, one in made.items()]
    )
    tables = []
    with tempfile.TemporaryDirectory() as folder:
        files = deployed(made, example, Path(folder))
        for batch, threads in itertools.product(BATCHES, THREADS):
            images = example[:1].expand(batch, *example.shape[1:]).contiguous()
            timed = {(name, "eager"): one for name, one in made.items()}
            if compiled and (batch, threads) == (USUAL, 1):
                timed |= {(name, "compiled"): torch.compile(made[name]) for name in DEPLOYED}
            timed |= {key: OnnxModel(path, threads) for key, path in files.items()}
            tables.append(_timed(timed, images, threads))
        table = pd.concat(tables, ignore_index=True).merge(costs, on="variant", how="left")
        for (variant, runtime), path in files.items():
            rows = table["variant"].eq(variant) & table["runtime"].eq(runtime)
            table.loc[rows, "file_bytes"] = path.stat().st_size
    return table


def _costs(one: nn.Module, dense: nn.Module, example: Tensor) -> dict:
    counted = measure(one, example)
    state = {name: tensor.contiguous() for name, tensor in one.state_dict().items()}
    saved = reductions(measure(dense, example), counted)["theoretical_speedup"]
    sizes = {"file_bytes": len(safetensors.torch.save(state)), "speedup_theoretical": saved}
    return sizes | {name: counted[name] for name in ("macs", "parameters")}


def _timed(timed: Mapping[tuple[str, str], nn.Module], images: Tensor, threads: int) -> pd.DataFrame:
    table = compare_latency(timed, images, threads=threads, seconds=SECONDS, rounds=ROUNDS)
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


def measure_all(pixels: Mapping[str, int] = PUBLISHED, compiled: bool = True) -> dict[str, pd.DataFrame]:
    """All three parts for the named models with random weights, which time does not read.

    Each row has machine, versions and commit.

    Parameters
    ----------
    pixels : Mapping[str, int], default PUBLISHED
        Model -> a side of its images.
    compiled : bool, default True
        Also by torch.compile.

    Raises
    ------
    ValueError
        For an unknown name, before any work.
    """
    networks = {name: models.build(name, 10, (3, size, size)) for name, size in pixels.items()}
    chains, operations = [], []
    with one_thread():
        kernels = crossover(seconds=SECONDS / 4)
        for name, model in networks.items():
            sides = {"model": name, "pixels": pixels[name]}
            images = torch.randn(2, 3, pixels[name], pixels[name], generator=torch.Generator().manual_seed(0))
            chains.append(chain(model, images, compiled).assign(**sides))
            operations.append(layers(model, images).assign(**sides))
    there = {"machine": machine(), **versions(("torch", "onnxruntime"))}
    there |= {"mkl": torch.backends.mkl.is_available(), "commit": commit()}
    found = {
        "chain": pd.concat(chains, ignore_index=True),
        "layers": pd.concat(operations, ignore_index=True),
        "kernels": kernels,
    }
    return {part: table.assign(**there) for part, table in found.items()}


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
