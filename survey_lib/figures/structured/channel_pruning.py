"""The drawing of channel pruning: what a choice and a repair are worth to the layer that reads the channels."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
import torch
from torch import Tensor

from survey_lib.chain import channels
from survey_lib.chain.coupling import Coupling, trace
from survey_lib.chain.evidence.base import Consumer
from survey_lib.chain.selection import keep_largest
from survey_lib.charts.export import Drawing
from survey_lib.experiment.data.loaders import load
from survey_lib.experiment.runs.checkpoint import load_trained
from survey_lib.methods.channel.reconstruction import contributions, lasso, thinet

LAYER, REMOVED = "layer2.0.conv1", 16


def choice_and_repair() -> Drawing:
    """Share of the reader's output that is lost on unseen photographs: four choices of half the channels, three repairs."""
    network, data = load_trained("resnet-8-eurosat32"), load("eurosat32-mini")
    chosen = torch.randperm(len(data.train[1]), generator=torch.Generator().manual_seed(0))[:128]
    alone = Coupling((trace(network, data.train[0][:2])[LAYER],), {})
    seen, new = (
        channels.collect(network, alone, ("consumers",), [x])[LAYER][0]
        for x in (data.train[0][chosen], data.validation[0][:128])
    )
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
    bar = {"label": "output lost (share)"}
    sns.heatmap(table, annot=True, fmt=".0%", cmap="cividis_r", vmin=0, ax=axes, cbar_kws=bar)
    axes.set(xlabel="repair", ylabel="choice")
    axes.tick_params(axis="y", rotation=0)
    chance, best = table.loc["chance"], table.loc["ThiNet"]
    gains = [chance["none"] / lost for lost in (best["none"], chance["all weights"], best["all weights"])]
    says = "The choice divides what is lost by {:.0f}, the full repair by {:.0f}, both by {:.0f}".format(
        *gains
    )
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
