"""Time of a forward, measured so that two numbers may be compared (case B51)."""

import logging
import platform
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from survey_lib.chain.inputs import arguments, check_runnable, positive, running, unwrap, whole
from survey_lib.measure.observe import Example, quiet, samples_of

logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # Timer loads it: no GPU is no news
WARM_UP = 3  # calls before the clock starts: allocator, kernel choice, caches


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
