"""The training loop beside its limit and beside a DataLoader, in images a second; choices of memory format and threads.

    python benchmarks/training.py [loop] [threads]

loop     `fit` beside (a) forward, backward and step on one batch that stays, the limit, and (b) a plain DataLoader
         loop with torchvision's transforms on the same tensors. All take turns; medians of processor time; one thread.
threads  a step with one thread and with all cores, and with channels_last memory or without.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from survey_lib.experiment.data import loaders as data
from survey_lib.experiment.networks.models import build
from survey_lib.experiment.runs import train
from survey_lib.measure import machine

PAIRS = [("digits", "lenet-300-100", 32), ("eurosat32-mini", "resnet-8", 16)]
# A training of digits is as short as setting it up for one epoch
EPOCHS = {"digits": 15, "eurosat32-mini": 1}
IMAGES, ROUNDS = 512, 9


class Images(Dataset):
    """Images one at a time, each augmented by torchvision's transforms: what most training scripts do."""

    def __init__(self, subset: data.Data):
        self.x, self.y = subset.train
        flips = {3: v2.RandomHorizontalFlip(), 2: v2.RandomVerticalFlip()}
        crop = [v2.RandomCrop(self.x.shape[-1], padding=subset.pad)] if subset.pad else []
        self.transform = (
            v2.Compose([*[flips[axis] for axis in subset.flips], *crop]) if subset.flips or crop else None
        )

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, place: int):
        x = self.x[place]
        return (self.transform(x) if self.transform else x), self.y[place]


def step(model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor) -> float:
    loss = F.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def few(name: str) -> data.Data:
    """The first images of a data set; one validation image, so that evaluating costs next to nothing."""
    whole = data.load(name)
    cut = lambda split, count: (split[0][:count], split[1][:count])  # noqa: E731
    parts = {
        "train": cut(whole.train, IMAGES),
        "validation": cut(whole.validation, 1),
        "test": cut(whole.test, 1),
    }
    return replace(whole, **parts)


def fresh(name: str, subset: data.Data, last: bool = True) -> tuple[nn.Module, torch.optim.Optimizer]:
    model = build(name, len(subset.classes), subset.in_shape).train()
    model.to(memory_format=torch.channels_last if last else torch.contiguous_format)
    return model, train.make_optimizer(model, "sgd", 0.01, 5e-4)


def fitting(name: str, subset: data.Data, size: int) -> Callable[[], None]:
    model, _ = fresh(name, subset)
    return lambda: train.fit(model, subset, epochs=EPOCHS[subset.name], lr=0.01, batch_size=size)


def resident(name: str, subset: data.Data, size: int, last: bool = True) -> Callable[[], None]:
    """As many steps as the training has, on one batch."""
    model, optimizer = fresh(name, subset, last)
    x, y = (tensor[:size] for tensor in subset.train)

    def run() -> None:
        for _ in range(EPOCHS[subset.name] * len(subset.train[1]) // size):
            step(model, optimizer, x, y)

    return run


def loading(name: str, subset: data.Data, size: int) -> Callable[[], None]:
    model, optimizer = fresh(name, subset)
    loader = DataLoader(Images(subset), size, shuffle=True)

    def run() -> None:
        for _ in range(EPOCHS[subset.name]):
            for x, y in loader:
                step(model, optimizer, x, y)

    return run


def in_turns(
    peers: dict[str, Callable[[], None]], clock: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """Median seconds of each peer, after one round to warm up; of processor time, unless more threads are compared."""
    times: dict[str, list[float]] = {name: [] for name in peers}
    for turn in range(ROUNDS + 1):
        for name, call in peers.items():
            start = clock()
            call()
            if turn:
                times[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def loop() -> pd.DataFrame:
    """Images a second of `fit`, as a share of the limit, and times a DataLoader loop."""
    rows = []
    for name, network, size in PAIRS:
        subset = few(name)
        seconds = in_turns(
            {
                "fit": fitting(network, subset, size),
                "limit": resident(network, subset, size),
                "loader": loading(network, subset, size),
            }
        )
        rows.append(
            {
                "data": name,
                "model": network,
                "batch": size,
                "images/s": EPOCHS[name] * IMAGES / seconds["fit"],
                "of the limit": seconds["limit"] / seconds["fit"],
                "over DataLoader": seconds["loader"] / seconds["fit"],
            }
        )
    return pd.DataFrame(rows)


def threads() -> pd.DataFrame:
    """Steps on one batch: channels_last over contiguous (above 1: faster), and all cores over one thread."""
    rows, cores = [], os.cpu_count() or 1
    for name, network, size in PAIRS:
        subset = few(name)
        last, plain = resident(network, subset, size), resident(network, subset, size, last=False)

        def many(call: Callable[[], None] = last) -> None:
            torch.set_num_threads(cores)
            call()
            torch.set_num_threads(1)

        seconds = in_turns({"last": last, "plain": plain, "many": many}, time.perf_counter)
        rows.append(
            {
                "model": network,
                "batch": size,
                "channels_last over contiguous": seconds["plain"] / seconds["last"],
                f"{cores} threads over 1": seconds["last"] / seconds["many"],
            }
        )
    return pd.DataFrame(rows)


PARTS = {"loop": loop, "threads": threads}


def main(names: list[str]) -> None:
    unknown = sorted(set(names) - set(PARTS))
    if unknown:
        raise SystemExit(f"unknown part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    torch.set_num_threads(1)
    print(f"{machine()}, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}")
    for name in names or PARTS:
        print(f"\n{name}: {PARTS[name].__doc__}")
        print(PARTS[name]().to_string(index=False, float_format="{:.3g}".format))


if __name__ == "__main__":
    main(sys.argv[1:])
