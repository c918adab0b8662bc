"""Drawings of trained networks, computed when they are drawn, for the notebooks 00 (story), 01 and 08."""

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from torch import Tensor, nn

from survey_lib.analysis.numbers import timing
from survey_lib.chain import channels
from survey_lib.chain.coupling import Coupling, trace
from survey_lib.chain.evidence.base import Consumer
from survey_lib.chain.selection import keep_largest
from survey_lib.charts.export import Drawing
from survey_lib.charts.plots import DENSE, GREY, PALETTE
from survey_lib.experiment.data.loaders import load
from survey_lib.experiment.runs.checkpoint import load_trained
from survey_lib.methods.channel.reconstruction import contributions, lasso, thinet
from survey_lib.prune import prune

NETWORK, PHOTOGRAPHS = "resnet-8-eurosat32", "eurosat32-mini"
LAYER, TIMED = "layer2.0.conv2.weight", "resnet-20-b"  # of the story; and timed once on a quiet machine
NORM = "layer3.0.bn1"  # one of its channels is shown
GROUP, REMOVED = "layer2.0.conv1", 16  # the layer whose channels are chosen, and how many go


def story() -> Drawing:
    """A layer of the course's network whole, masked and cut, and the time of each kind of network."""
    weight = load_trained(NETWORK).state_dict()[LAYER].abs().numpy()
    norms = weight.sum((1, 2, 3)), weight.sum((0, 2, 3))
    rows, columns = (np.sort(norm.argsort()[len(norm) // 2 :]) for norm in norms)
    layers = {
        "1. The network": weight,
        "2. The mask: 80 % zeros": np.where(weight > np.quantile(weight, 0.8), weight, 0),
        "3. The cut: half the filters": weight[rows][:, columns],
    }
    figure, (*pictures, clock) = plt.subplots(1, 4, figsize=(9.6, 2.7), width_ratios=(3, 3, 3, 2.4))
    for axes, (title, layer) in zip(pictures, layers.items(), strict=True):
        mosaic = layer.transpose(0, 2, 1, 3).reshape(3 * layer.shape[0], -1)  # a kernel is a tile of 3x3
        axes.imshow(mosaic, cmap="Blues", vmin=0, vmax=np.quantile(weight, 0.98))
        axes.set(title=f"{title}\n{layer.size:,} numbers stored", xlim=(-0.5, 95.5), ylim=(95.5, -0.5))
        axes.axis("off")
    time = pd.Series({name: 1000 * timing(TIMED, name).median_s for name in ("dense", "masked", "cut")})
    clock.bar(time.index, time, color=[GREY, PALETTE[0], PALETTE[1]], width=0.6)
    clock.bar_label(clock.containers[0], fmt="%.0f", fontsize=8)
    clock.set(title="4. The time\nms for 16 images", ymargin=0.12)
    clock.grid(axis="x", visible=False)
    assert time["masked"] > 0.9 * time["dense"] > time["cut"]
    data = pd.DataFrame({"stored": [layer.size for layer in layers.values()], "ms": time})
    says = "Zeros take as long as other numbers; only the cut is faster"
    return Drawing(figure, says, data, {"layer": LAYER, "timed": TIMED})


def stale_statistics() -> Drawing:
    """One channel before and after pruning beside the mean that batch norm stored, and the shift of every channel."""
    dense, images = load_trained(NETWORK), load(PHOTOGRAPHS).validation[0][:100]
    networks = {"dense": dense, "80 % removed": prune(dense, "magnitude", 0.8).model}
    colours = dict(zip(networks, (GREY, PALETTE[1]), strict=True))
    seen = {name: _inputs_of_norms(network, images) for name, network in networks.items()}
    rows = [(name, *row) for name, inputs in seen.items() for row in _shifts(dense, inputs)]
    table = pd.DataFrame(rows, columns=["network", "layer", "channel", "shift"])
    size = table.query("network != 'dense' and layer == @NORM").set_index("channel")["shift"].abs()
    typical = (size - size.median()).abs().idxmin()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.4, 3.4), width_ratios=(1, 1.25))
    bars = {"density": True, "histtype": "stepfilled", "alpha": 0.75}
    for name, inputs in seen.items():
        channel = inputs[NORM][:, typical].flatten().numpy()
        left.hist(channel, 50, **bars, color=colours[name], label=name)
        left.axvline(channel.mean(), color=colours[name])
    stored = dense.get_submodule(NORM).running_mean[typical]
    left.axvline(stored, color=DENSE, linestyle="--", label="stored mean")
    left.set(title=f"A typical channel of {NORM}", xlabel="input of batch norm", yticks=[])
    left.legend()
    dots = {"size": 3.5, "jitter": False, "dodge": True, "alpha": 0.7, "legend": False}
    sns.stripplot(table, x="shift", y="layer", hue="network", palette=colours, ax=right, **dots)
    right.set(title="How far the mean of each channel is off", ylabel="")
    right.set_xlabel("true mean − stored mean, in stored deviations")
    sizes = table["shift"].abs().groupby(table["network"]).mean()
    assert sizes["80 % removed"] > 5 * sizes["dense"]
    says = "After pruning, batch norm subtracts means that are no longer true"
    return Drawing(figure, says, table, {"pruned": sizes["80 % removed"], "dense": sizes["dense"]})


@torch.no_grad()
def _inputs_of_norms(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """What each batch norm is given: name -> (images, channels, height, width)."""
    found: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_pre_hook(lambda _, given, name=name: found.update({name: given[0]}))
    model(images)
    return found


def _shifts(dense: nn.Module, inputs: dict[str, Tensor]) -> Iterator[tuple[str, int, float]]:
    """How far the mean of each channel is from the one that batch norm stored: layer, channel, shift."""
    for layer, z in inputs.items():
        norm = dense.get_submodule(layer)
        shift = (z.mean((0, 2, 3)) - norm.running_mean) / norm.running_var.sqrt()
        yield from ((layer, channel, float(value)) for channel, value in enumerate(shift))


def choice_and_repair() -> Drawing:
    """Share of the reader's output that is lost on unseen photographs: four choices of half the channels, three repairs."""
    network, data = load_trained(NETWORK), load(PHOTOGRAPHS)
    chosen = torch.randperm(len(data.train[1]), generator=torch.Generator().manual_seed(0))[:128]
    alone = Coupling((trace(network, data.train[0][:2])[GROUP],), {})
    batches = data.train[0][chosen], data.validation[0][:128]
    seen, new = (channels.collect(network, alone, ("consumers",), [x])[GROUP][0] for x in batches)
    size = seen.weight.flatten(1).abs().sum(1)
    draws = [torch.rand(len(size), generator=torch.Generator().manual_seed(seed)) for seed in range(10)]
    choices = {
        "chance": [keep_largest(draw, REMOVED) for draw in draws],
        "L1 norm": [keep_largest(size, REMOVED)],
        "ThiNet": [thinet(seen, REMOVED)[0]],
        "LASSO": [lasso(seen, REMOVED)[0]],
    }
    reader, gram = seen.consumers[0], new.consumers[0].gram
    rows = [{"choice": name} | _lost(reader, keep, gram) for name, masks in choices.items() for keep in masks]
    table = pd.DataFrame(rows).groupby("choice", sort=False).mean()
    figure, axes = plt.subplots(figsize=(6.4, 3.2))
    sns.heatmap(table, annot=True, fmt=".0%", cmap="cividis_r", vmin=0, cbar=False)
    axes.set(title="share of the output that is lost", xlabel="repair", ylabel="choice")
    axes.tick_params(axis="y", rotation=0)
    chance, best = table.loc["chance"], table.loc["ThiNet"]
    choice, repair, both = chance["none"] / [best["none"], chance["all weights"], best["all weights"]]
    says = f"The choice divides what is lost by {choice:.0f}, the full repair by {repair:.0f}, both by {both:.0f}"
    return Drawing(figure, says, table.reset_index())


def _lost(reader: Consumer, keep: Tensor, gram: Tensor) -> dict[str, float]:
    """Share of the output that no repair, one factor a channel, and a refit of all weights leave unexplained."""
    width, ridge = reader.weight.shape[1], 1e-8 * reader.gram.diagonal().mean()  # a channel may be dead
    own = reader.gram + ridge * torch.eye(len(reader.gram), dtype=reader.gram.dtype)
    inner = contributions(reader, own)
    dense, columns = reader.weight.flatten(0, 1).double(), keep.repeat_interleave(width)
    factors, fitted = torch.zeros(len(keep), dtype=dense.dtype), torch.zeros_like(dense)
    factors[keep] = torch.linalg.solve(inner[keep][:, keep], inner[keep].sum(1))
    fitted[columns] = torch.linalg.solve(own[columns][:, columns], own[columns] @ dense)
    scaled = dense * factors.repeat_interleave(width)[:, None]
    missing = {"none": dense * ~columns[:, None], "one factor": dense - scaled, "all weights": dense - fitted}
    whole = (dense.T @ gram @ dense).trace()
    return {name: ((rest.T @ gram @ rest).trace() / whole).item() for name, rest in missing.items()}
