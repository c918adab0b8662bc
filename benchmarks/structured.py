"""Group-norm pruning of 30 % of the channels from end to end, beside torch-pruning; ours also checks its cut.

    python benchmarks/structured.py

Peers take turns round by round in one process, medians of processor time are compared, one thread. "alone" are seconds
and GiB of resident memory gained in a fresh process. Where torch-pruning has no result within the caps, ours is compared
with its own trace.
"""

from __future__ import annotations

import copy
import multiprocessing
import resource
import statistics
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch
import torch_pruning
import torchvision
from torch import nn

import survey_lib
from survey_lib.measure import machine

IMAGE = (1, 3, 224, 224)
PROCESS = Path("/proc/self")
CAP_BYTES, CAP_SECONDS = 12 * 2**30, 60  # torch-pruning is known to grow without bound


def fresh(name: str) -> nn.Module:
    torch.manual_seed(0)
    return getattr(torchvision.models, name)().eval()


def in_turns(model: nn.Module, peers: dict[str, Callable], rounds: int) -> dict[str, float]:
    """Median seconds of each peer on its own copies of the model, after one round to warm up."""
    times: dict[str, list[float]] = {name: [] for name in peers}
    for turn in range(rounds + 1):
        for name, call in peers.items():
            subject = copy.deepcopy(model)
            start = time.process_time()
            call(subject)
            if turn:
                times[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def _measured(pipe, call: Callable, name: str) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    model = fresh(name)
    resource.setrlimit(resource.RLIMIT_AS, (CAP_BYTES, CAP_BYTES))
    PROCESS.joinpath("clear_refs").write_text("5")  # the peak starts again from here
    before, start = resident("VmRSS"), time.process_time()
    call(model)
    pipe.send((time.process_time() - start, resident("VmHWM") - before))


def resident(field: str) -> float:
    """Resident memory of this process in GiB, now (VmRSS) or at its peak (VmHWM); Linux only."""
    lines = PROCESS.joinpath("status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 2**20


def alone(call: Callable, name: str) -> tuple[float, float] | None:
    """Seconds and GiB gained by one call in a fresh process; None when it fails or passes the caps."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(sender, call, name))
    process.start()
    sender.close()
    try:
        return receiver.recv() if receiver.poll(CAP_SECONDS) else None
    except EOFError:
        return None
    finally:
        process.kill()
        process.join()


def prune_ours(model: nn.Module) -> nn.Module:
    return survey_lib.prune(model, "group-norm", 0.3, example=torch.randn(IMAGE)).model


def prune_peer(model: nn.Module) -> nn.Module:
    heads = {layer: layer.num_heads for layer in model.modules() if isinstance(layer, nn.MultiheadAttention)}
    classifiers = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == 1000]
    importance = torch_pruning.importance.GroupMagnitudeImportance(p=2)
    torch_pruning.pruner.BasePruner(
        model,
        torch.randn(IMAGE),
        importance,
        pruning_ratio=0.3,
        global_pruning=True,
        num_heads=heads,
        ignored_layers=classifiers,
    ).step()
    return model


def prune_peer_checked(model: nn.Module) -> nn.Module:
    """torch-pruning and the least that a check would add: the network before and after its cut, in float64, on two
    images of the size that ours is checked at."""
    pixels = getattr(model, "image_size", 64)
    images = torch.randn(2, 3, pixels, pixels, dtype=torch.float64)
    forward = torch.no_grad()(lambda network: copy.deepcopy(network).double()(images))
    forward(model)
    small = prune_peer(model)
    forward(small)
    return small


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(f"{machine()}, torch {torch.__version__}, torch-pruning {version('torch-pruning')}, 1 thread")
    pruners = {"survey_lib": prune_ours, "torch-pruning": prune_peer}
    rows = []
    for name in ("resnet50", "mobilenet_v2", "densenet121", "vit_b_16", "swin_t"):
        model = fresh(name)
        lonely = {peer: alone(call, name) for peer, call in pruners.items()}
        done = {peer: call for peer, call in pruners.items() if lonely[peer]}
        own = {"trace": lambda model: survey_lib.trace(model, torch.randn(IMAGE))}
        more = {"checked peer": prune_peer_checked} if len(done) > 1 else own
        seconds = in_turns(model, done | more, 3)
        ratios = {f"over {peer}": seconds["survey_lib"] / value for peer, value in seconds.items()}
        left = {f"{peer} M": _parameters(call(copy.deepcopy(model))) / 1e6 for peer, call in done.items()}
        found = {f"{peer} alone": result or "no result" for peer, result in lonely.items()}
        rows.append({"model": name} | seconds | ratios | left | found)
        print(rows[-1], flush=True)
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.3f}".format))


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


if __name__ == "__main__":
    main()
