"""Time on this machine: of a forward, of its operators under the roofline, and of sparse kernels (case B51).

Two times may be compared only where the models were timed in turns on one machine. Why a network is as slow as it is
shows each operator's time beside two measured limits of the machine:

attainable FLOP/s = min(peak, intensity · bandwidth),  intensity = FLOPs / bytes moved   (Williams et al.
2009)
"""

import logging
import platform
import re
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from survey_lib.chain.inputs import arguments, check_runnable, positive, running, unwrap, whole
from survey_lib.eager import EagerMode
from survey_lib.measure.counts import Example, quiet, samples_of

logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # Timer loads it: no GPU is no news
WARM_UP = 3  # calls before the clock starts: allocator, kernel choice, caches
# Kind of operator by a part of its name
KINDS = {"convolution": "convolution", "mm": "linear", "norm": "norm", "pool": "pooling"}
SPARSITIES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
BATCHES, ROUNDS = (1, 64), 7
BLOCK = 16  # MKL multiplies square blocks only


def stopwatch() -> Callable[[], dict[str, float]]:
    """Start a watch; a call reads it: wall seconds, and CPU seconds of this process, since the start.

    Examples
    --------
    >>> read = stopwatch()
    >>> sorted(read())
    ['cpu_seconds', 'seconds']
    """
    wall, cpu = time.perf_counter(), time.process_time()
    return lambda: {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}


def machine(device: torch.device | str = "cpu") -> str:
    """Name of the processor (or GPU) that runs the model; rows of different machines are not comparable."""
    if str(device).startswith("cuda"):
        try:
            return torch.cuda.get_device_name(device)
        except (RuntimeError, AssertionError, ValueError):
            return "no such GPU"  # the record of a failed run names its machine, too
    cpuinfo = Path("/proc/cpuinfo")
    name = re.search(r"^model name\s*: (.*)", cpuinfo.read_text() if cpuinfo.exists() else "", re.MULTILINE)
    return name[1].strip() if name else platform.processor() or platform.machine()


def _timer(model: nn.Module, example: Example, threads: int):
    from torch.utils.benchmark import Timer  # slow to import, and logs a warning where nvcc finds no GPU

    positional, named = arguments(example)
    call = {"model": model, "positional": positional, "named": named}
    return Timer("model(*positional, **named)", globals=call, num_threads=threads)


def latency(
    model: nn.Module, example: Example, *, threads: int = 1, seconds: float = 1.0, samples: int | None = None
) -> dict:
    """Median time of one forward in eval mode without gradients.

    The model is left as found. A masked model does dense work: expect no speed-up.

    Parameters
    ----------
    model : nn.Module
        The network.
    example : Example
        An input of its forward.
    threads : int, default 1
        Threads of the computation.
    seconds : float, default 1.0
        Least time of all repeats.
    samples : int, optional
        The batch, where the example does not say it (see `measure`).

    Returns
    -------
    dict
        A row of `compare_latency` for this model alone: median_s and iqr_s (seconds a forward, spread
        over the rounds), runs, threads, batch, machine and torch version.

    Raises
    ------
    ValueError
        For a model that does not run on `example`, and for numbers out of range.

    Examples
    --------
    >>> list(latency(nn.Linear(2, 2), torch.ones(1, 2), seconds=0.01))
    ['median_s', 'iqr_s', 'runs', 'threads', 'batch', 'machine', 'torch']
    """
    check_runnable(unwrap(model))
    samples = samples_of(model, example, samples=samples)
    with running(model, example):
        table = compare_latency({"": model}, example, threads=threads, seconds=seconds, samples=samples)
    return table.drop(columns=["model", "ratio_low", "ratio", "ratio_high"]).to_dict("records")[0]


def compare_latency(
    models: Mapping[str, nn.Module],
    example: Example,
    *,
    threads: int = 1,
    seconds: float = 1.0,
    rounds: int = 11,
    samples: int | None = None,
) -> pd.DataFrame:
    """Time several models in turns, so that a change of the machine's speed meets all of them alike.

    Each round runs every model once for about `seconds` / `rounds`.

    Parameters
    ----------
    models : Mapping[str, nn.Module]
        {name: model}, the reference first.
    example : Example
        An input of their forward.
    threads : int, default 1
        Threads of the computation.
    seconds : float, default 1.0
        Time for all rounds of one model.
    rounds : int, default 11
        How often each is timed.
    samples : int, optional
        The batch, where the example does not say it (see `measure`).

    Returns
    -------
    pd.DataFrame
        One row a model: the median and interquartile range of its rounds; the median of the
        round-by-round `ratio` to the first model (1.0 = as slow as the first, 0.5 = twice as fast) with
        its quartiles `ratio_low` and `ratio_high`; and the environment.

    Raises
    ------
    ValueError
        For no models, or numbers out of range.

    Examples
    --------
    >>> table = compare_latency({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)}, torch.ones(1, 2), seconds=0.01)
    >>> list(table["model"]), float(table["ratio"][0])
    (['a', 'b'], 1.0)
    """
    if not models or not isinstance(models, Mapping):
        raise ValueError("compare_latency got no models; give {name: model} with the reference first")
    for model in models.values():
        check_runnable(unwrap(model))
    whole(threads=threads, rounds=rounds)
    positive(seconds=seconds)
    samples = samples_of(next(iter(models.values())), example, samples=samples)
    seconds_of = np.empty((len(models), rounds))
    with quiet(nn.ModuleList(models.values())):
        timers = [_timer(model, example, threads) for model in models.values()]
        calls = [round(seconds / rounds / max(timer.timeit(WARM_UP).median, 1e-9)) for timer in timers]
        for turn in range(rounds):
            for place, timer in enumerate(timers):
                seconds_of[place, turn] = timer.timeit(max(1, calls[place])).median
    low, median, high = np.percentile(seconds_of, (25, 50, 75), axis=1)
    ratios = np.percentile(seconds_of / seconds_of[0], (25, 50, 75), axis=1)
    devices = [next((p.device for p in model.parameters()), "cpu") for model in models.values()]
    table = pd.DataFrame({"model": list(models), "median_s": median, "iqr_s": high - low}).assign(runs=rounds)
    table[["ratio_low", "ratio", "ratio_high"]] = ratios.T
    return table.assign(
        threads=threads, batch=samples, machine=list(map(machine, devices)), torch=torch.__version__
    )


class OperatorClock(EagerMode):
    """Notes time, FLOPs and bytes of each operator of a forward, in order.

    Views move nothing and are left out. FLOPs by torch's counter, two a multiply-add, and one an output entry
    where it has no rule. Bytes are the least that must be moved: every input and output tensor once.
    """

    def __init__(self):
        from torch.utils.flop_counter import flop_registry  # slow to import

        super().__init__()
        self._rules = flop_registry
        self.rows: list[tuple[str, int, int, float]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        start = time.perf_counter()
        result = func(*args, **(kwargs or {}))
        seconds = time.perf_counter() - start
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if read and not func.is_view:
            rule = self._rules.get(func._overloadpacket)
            flops = rule(*args, **(kwargs or {}), out_val=result) if rule else sum(t.numel() for t in made)
            moved = sum(tensor.nbytes for tensor in [*read, *made])
            self.rows.append((func._overloadpacket.__name__, flops, moved, seconds))
        return result


def operators(model: nn.Module, example: Example, repeats: int = 15) -> pd.DataFrame:
    """Time, FLOPs and bytes of each operator of the forward.

    Eval mode without gradients, after a warm-up; the model is left as found. On a CPU, where an operator is
    done when its call returns.

    Parameters
    ----------
    model : nn.Module
        The network.
    example : Example
        An input of its forward.
    repeats : int, default 15
        Runs of which the median is taken.

    Returns
    -------
    pd.DataFrame
        One row an operator, in order: operator, kind, flops, bytes and median seconds.

    Examples
    --------
    >>> table = operators(nn.Linear(8, 4), torch.ones(2, 8), repeats=3)
    >>> table[["kind", "flops", "bytes"]].values.tolist()  # 2·2·8·4; (16 + 32 + 4 + 8) entries of 4 bytes
    [['linear', 128, 240]]
    """
    positional, named = arguments(example)
    rounds = []
    with quiet(model):
        for _ in range(WARM_UP + repeats):
            with OperatorClock() as clock:
                model(*positional, **named)
            rounds.append(clock.rows)
    table = pd.DataFrame(rounds[-1], columns=["operator", "flops", "bytes", "seconds"])
    table["seconds"] = np.median([[row[3] for row in rows] for rows in rounds[WARM_UP:]], axis=0)
    found = table["operator"].str.extract(f"({'|'.join(KINDS)})", expand=False)
    table.insert(1, "kind", found.map(KINDS).fillna("elementwise"))
    return table


def ceilings(size: int = 2048, megabytes: int = 128) -> dict[str, float]:
    """The machine's two limits at one thread, measured.

    The best of seven, since a limit is not an average.

    Parameters
    ----------
    size : int, default 2048
        Rows and columns of the matrices.
    megabytes : int, default 128
        Size of each array; too large for any cache.

    Returns
    -------
    dict[str, float]
        `peak`: FLOP/s of a large matrix product; `bandwidth`: bytes/s of a sum of two arrays.

    Examples
    --------
    >>> sorted(ceilings(size=64, megabytes=1))
    ['bandwidth', 'peak']
    """
    from torch.utils.benchmark import Timer

    square = torch.rand(size, size)
    first, second, total = (torch.rand(megabytes * 2**18) for _ in range(3))
    calls = {
        "peak": ("torch.mm(a, a, out=c)", {"a": square, "c": torch.empty_like(square)}, 2 * size**3),
        "bandwidth": ("torch.add(a, b, out=c)", {"a": first, "b": second, "c": total}, 3 * first.nbytes),
    }
    best = {}
    for name, (statement, tensors, work) in calls.items():
        timer = Timer(statement, globals={"torch": torch, **tensors})
        best[name] = work / min(timer.timeit(1).median for _ in range(7))
    return best


def under_roof(table: pd.DataFrame, peak: float | pd.Series, bandwidth: float | pd.Series) -> pd.DataFrame:
    """The operators of `operators` beside the roofline of the two ceilings.

    Parameters
    ----------
    table : pd.DataFrame
        What `operators` returned.
    peak : float | pd.Series
        FLOP/s, one number or one a row.
    bandwidth : float | pd.Series
        bytes/s, one number or one a row.

    Returns
    -------
    pd.DataFrame
        The table with three more columns

        * intensity: FLOPs a byte
        * attained: FLOP/s
        * roof_s: max(flops / peak, bytes / bandwidth), the least time

    Examples
    --------
    >>> one = pd.DataFrame({"flops": [100.0], "bytes": [400.0], "seconds": [8.0]})
    >>> under_roof(one, peak=50, bandwidth=100)[["intensity", "attained", "roof_s"]].values.tolist()
    [[0.25, 12.5, 4.0]]
    """
    return table.assign(
        intensity=table["flops"] / table["bytes"],
        attained=table["flops"] / table["seconds"],
        roof_s=np.maximum(table["flops"] / peak, table["bytes"] / bandwidth),
    )


def formats(weight: Tensor, sparsity: float) -> dict[str, nn.Module]:
    """Products with the same matrix, pruned at random, dense and in each sparse form that runs here.

    CSR by torch and by scipy holds single weights, BSR whole 16x16 blocks. torch's products are those of MKL, and
    are left out where it was built without. Its N:M form runs on GPUs only.

    Parameters
    ----------
    weight : Tensor
        (out, in), both multiples of 16.
    sparsity : float
        Fraction removed.
    """
    draw = torch.Generator().manual_seed(0)
    outputs, inputs = weight.shape
    single = weight * (torch.rand(weight.shape, generator=draw) >= sparsity)
    blocks = torch.rand(outputs // BLOCK, inputs // BLOCK, generator=draw) >= sparsity
    blocked = weight * blocks.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)
    scipy_rows = csr_matrix(single.numpy())
    products: dict[str, Callable[[Tensor], object]] = {
        "dense": lambda x: single @ x,
        "CSR (scipy)": lambda x: scipy_rows @ x.numpy(),
    }
    if torch.backends.mkl.is_available():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # sparse layouts are marked beta
            rows, squares = single.to_sparse_csr(), blocked.to_sparse_bsr((BLOCK, BLOCK))
        products |= {"CSR (torch)": lambda x: rows @ x, "BSR 16x16 (torch)": lambda x: squares @ x}
    return {name: _module(call) for name, call in products.items()}


def _module(call: Callable[[Tensor], object]) -> nn.Module:
    """A module whose forward is this function, so that it can be timed."""
    module = nn.Module()
    module.forward = call
    return module


def crossover(size: int = 1024, seconds: float = 0.1) -> pd.DataFrame:
    """Dense against sparse products of a size x size matrix with (size, batch), in turns on one thread.

    Parameters
    ----------
    size : int, default 1024
        Rows and columns of the matrix, a multiple of 16.
    seconds : float, default 0.1
        Time for all rounds of one kernel.

    Returns
    -------
    pd.DataFrame
        One row a batch, sparsity and kernel, with the columns of `compare_latency`; `ratio` below 1 is
        faster than dense.

    Examples
    --------
    >>> table = crossover(32, seconds=0.001)
    >>> table["kernel"][0], float(table["ratio"][0])
    ('dense', 1.0)
    """
    weight = torch.randn(size, size, generator=torch.Generator().manual_seed(0))
    tables = []
    for batch in BATCHES:
        x = torch.randn(size, batch, generator=torch.Generator().manual_seed(1))
        for sparsity in SPARSITIES:
            timed = compare_latency(formats(weight, sparsity), x, seconds=seconds, rounds=ROUNDS)
            tables.append(timed.assign(size=size, batch=batch, sparsity=sparsity))
    return pd.concat(tables, ignore_index=True).rename(columns={"model": "kernel"})
