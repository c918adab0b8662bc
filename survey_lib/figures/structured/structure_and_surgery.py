"""Drawings of what a trace found: the positions of one coupled channel in every tensor that holds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from survey_lib.chain.coupling import ChannelGroup
from survey_lib.charts.plots import DENSE, GREY, PALETTE
from survey_lib.charts.schematic import EMPTY

ROUNDING = 1e-17  # what is exactly equal stands here on a logarithmic axis
SIDES = {0: "writes", 1: "reads"}


def positions(group: ChannelGroup, channel: int, shapes: Mapping[str, Sequence[int]]) -> pd.DataFrame:
    """One row a weight of two or more axes: tensor, axis, width of that axis, positions of the channel.

    >>> import numpy as np; from survey_lib.chain.coupling import Slice
    >>> group = ChannelGroup("a", 2, (Slice("a.weight", 0, np.array([[4], [5]])),))
    >>> positions(group, 1, {"a.weight": (8, 3)}).loc[0, "positions"]
    [5]
    """
    rows = [
        {"tensor": part.tensor, "axis": part.dim, "width": shapes[part.tensor][part.dim],
         "positions": part.index[channel].tolist()}
        for part in group.slices if len(shapes[part.tensor]) > 1
    ]  # fmt: skip
    return pd.DataFrame(rows)


def strips(table: pd.DataFrame, axes: Axes) -> None:
    """One strip a row of `positions`, one cell a position, those of the channel coloured and numbered.

    An output axis (the layer writes the channel) is filled, an input axis (it reads the channel) hatched.
    """
    widest = table["width"].max()
    for row, part in enumerate(table.itertuples()):
        axes.add_patch(
            Rectangle((0, row - 0.36), part.width, 0.72, facecolor=EMPTY, edgecolor=GREY, linewidth=0.5)
        )
        axes.vlines(range(1, part.width), row - 0.36, row + 0.36, color="white", linewidth=0.5)
        for position in part.positions:
            look = {"hatch": None if part.axis == 0 else "/////", "edgecolor": DENSE, "linewidth": 0.6}
            axes.add_patch(Rectangle((position, row - 0.36), 1, 0.72, facecolor=PALETTE[1], **look))
        label = ", ".join(map(str, part.positions))
        right = max(part.positions) + 1
        axes.text(right + widest / 100, row, label, fontsize=8, va="center", weight="bold")
    names = [
        f"{name.removesuffix('.weight')} {SIDES.get(axis, axis)}"
        for name, axis in table[["tensor", "axis"]].values
    ]
    axes.set_yticks(range(len(table)), names)
    axes.set(
        xlim=(-0.01 * widest, widest * 1.01), ylim=(len(table) - 0.5, -0.5), xlabel="position on the axis"
    )
    axes.grid(False)


def errors(table: pd.DataFrame, axes: Axes) -> None:
    """Largest difference from the cut model, one row a model and one mark a way to mask, on a logarithmic axis.

    `table`: models down, ways to mask across. An error of exactly 0 stands at 1e-17.
    """
    shown = table.clip(lower=ROUNDING)
    for row, values in enumerate(shown.to_numpy()):
        axes.plot(values, [row] * len(values), color=GREY, linewidth=0.8, zorder=1)
    for index, name in enumerate(shown):
        axes.plot(
            shown[name], range(len(shown)), "os^D"[index % 4], color=PALETTE[index], linestyle="", label=name
        )
    axes.set_yticks(range(len(table)), table.index)
    axes.set(
        xscale="log", ylim=(len(table) - 0.5, -0.5), xlabel="largest difference from the cut model's output"
    )
    axes.axvline(1e-9, color=DENSE, linestyle="--", linewidth=1, label="what the library accepts")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=3)
