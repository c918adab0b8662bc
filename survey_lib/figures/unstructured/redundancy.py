"""What pruning does to the inputs of batch norm, whose stored statistics do not know it: a figure of notebook 01."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import torch
from torch import nn

from survey_lib.charts.export import Drawing
from survey_lib.charts.looks import DENSE, GREY, PALETTE
from survey_lib.experiment.data.loaders import load
from survey_lib.experiment.runs.checkpoint import load_trained
from survey_lib.prune import prune

SHOWN = "layer3.0.bn1"


def stale_statistics() -> Drawing:
    """One channel before and after pruning beside the mean that batch norm stored, and the shift of every channel."""
    dense, images = load_trained("resnet-8-eurosat32"), load("eurosat32-mini").validation[0][:100]
    networks = {"dense": dense, "80 % removed": prune(dense, "magnitude", 0.8).model}
    seen = {name: _inputs_of_norms(network, images) for name, network in networks.items()}
    rows = []
    for name, inputs in seen.items():
        for layer, z in inputs.items():
            norm = dense.get_submodule(layer)
            shift = (z.mean((0, 2, 3)) - norm.running_mean) / norm.running_var.sqrt()
            rows += [(name, layer, channel, float(value)) for channel, value in enumerate(shift)]
    table = pd.DataFrame(rows, columns=["network", "layer", "channel", "shift"])
    pruned = table[(table["network"] != "dense") & (table["layer"] == SHOWN)]
    size = pruned["shift"].abs()
    typical = int(pruned["channel"].loc[(size - size.median()).abs().idxmin()])
    colours = {"dense": GREY, "80 % removed": PALETTE[1]}
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.4, 3.4), width_ratios=(1, 1.25))
    for name, inputs in seen.items():
        channel = inputs[SHOWN][:, typical].flatten().numpy()
        sns.histplot(
            channel, bins=50, stat="density", element="step", color=colours[name], label=name, ax=left
        )
        left.axvline(channel.mean(), color=colours[name], linewidth=1.6)
    stored = dense.get_submodule(SHOWN).running_mean[typical]
    left.axvline(stored, color=DENSE, linestyle="--", label="stored mean")
    left.set(title=f"A typical channel of {SHOWN}", xlabel="input of batch norm", ylabel="", yticks=[])
    left.legend()
    dots = {"size": 3.5, "jitter": False, "dodge": True, "alpha": 0.7, "legend": False}
    sns.stripplot(table, x="shift", y="layer", hue="network", palette=colours, ax=right, **dots)
    right.set(title="How far the mean of each channel is off", ylabel="")
    right.set_xlabel("true mean − stored mean, in stored deviations")
    sizes = table.assign(shift=table["shift"].abs()).groupby("network")["shift"].mean()
    assert sizes["80 % removed"] > 5 * sizes["dense"]
    says = "After pruning, batch norm subtracts means that are no longer true"
    return Drawing(figure, says, table, {"pruned": sizes["80 % removed"], "dense": sizes["dense"]})


@torch.no_grad()
def _inputs_of_norms(model: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """What each batch norm is given: name -> (images, channels, height, width)."""
    found: dict[str, torch.Tensor] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_pre_hook(lambda _, given, name=name: found.update({name: given[0]}))
    model(images)
    return found
