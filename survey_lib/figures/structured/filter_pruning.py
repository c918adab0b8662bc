"""Drawings of filters and of what criteria do with them."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from survey_lib.catalogue import find
from survey_lib.chain import channels
from survey_lib.chain.coupling import Coupling, trace
from survey_lib.charts.export import Drawing, titled
from survey_lib.charts.looks import PALETTE
from survey_lib.experiment.data.loaders import load
from survey_lib.experiment.runs.trained import load_trained

IDEAS = {"size": "l1-filter", "content": "hrank", "effect": "taylor-filter"}
LAYER = "layer1.0.conv1"


def three_ideas() -> Drawing:
    """The maps of one layer of the course's network for one photograph, sorted by size, content and effect."""
    network, data = load_trained("resnet-8-eurosat32"), load("eurosat32-mini")
    chosen = torch.randperm(len(data.train[1]), generator=torch.Generator().manual_seed(0))[:128]
    batches = [tuple(part[i] for part in data.train) for i in chosen.split(32)]
    alone, scores = Coupling((trace(network, batches[0][0])[LAYER],), {}), {}
    for idea, method in IDEAS.items():
        found = channels.collect(network, alone, find(method).needs, batches)
        scores[idea] = channels.score_groups(find(method).score, found)[LAYER].numpy()
    maps = channels.collect(network, alone, ("act_out",), batches[:1])[LAYER][0].act_out[0]
    figure, removed = sorted_maps(maps.numpy(), scores, 8), 8
    halves = [set(np.argsort(score, kind="stable")[:removed]) for score in scores.values()]
    common = len(set.intersection(*halves))
    says = f"Three ideas of importance: of the {removed} filters that each removes, {common} are common"
    about = (
        "The feature maps of one layer of a ResNet-8 for one satellite photograph, the weakest first; "
        "size: L1 norm of the filter; content: mean rank of the map; effect: first-order change of the loss."
    )
    return titled(figure, says, about, pd.DataFrame(scores).rename_axis("filter").reset_index())


def sorted_maps(maps: np.ndarray, scores: Mapping[str, np.ndarray], removed: int) -> Figure:
    """Feature maps, two rows a criterion, lowest score first and the removed ones framed.

    All maps share one scale, so that a weak one looks weak.

    Parameters
    ----------
    maps : np.ndarray
        Feature maps (filters, height, width).
    scores : Mapping[str, np.ndarray]
        Criterion -> (filters,).
    removed : int
        How many of the lowest are framed.
    """
    width = -(-len(maps) // 2)
    size = (0.75 * width + 0.8, 1.9 * len(scores))
    figure, grid = plt.subplots(2 * len(scores), width, figsize=size, squeeze=False)
    for row, (name, score) in zip(grid.reshape(len(scores), 2 * width), scores.items(), strict=True):
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for place, (axes, index) in enumerate(zip(row, np.argsort(score, kind="stable"), strict=False)):
            axes.imshow(maps[index], cmap="cividis", vmin=0, vmax=np.quantile(maps, 0.995))
            axes.set_xlabel(str(index), labelpad=1)
            axes.spines[:].set(visible=place < removed, color=PALETTE[1], linewidth=2.5)
    _ = [axes.set(xticks=[], yticks=[]) for axes in grid.flat]
    return figure
