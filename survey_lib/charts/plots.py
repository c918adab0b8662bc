"""Plots of results in one house style. They take a results table and draw on axes; none imports torch.

The dense level is a dashed line, random is grey. Mean and spread over seeds are a line and a band; n is printed, and
n < 3 is said on the plot's face.
"""

import textwrap
from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from survey_lib.charts.looks import DENSE, GREY, MARKERS, PALE, PALETTE, looks  # noqa: F401

LABELS = {
    "accuracy": "test accuracy",
    "error": "test error",
    "compression": "compression (dense / kept parameters)",
    "speedup_theoretical": "theoretical speed-up (dense / kept MACs)",
    "sparsity": "sparsity (fraction removed)",
}
SETTINGS = ("data", "model", "pattern", "scope", "schedule", "recovery", "recovery_lr", "profile")
MINIMUM_SEEDS = 3


def house_style() -> None:
    """Fonts, colours, sizes and the fixed hash salt that make a figure the same bytes on every run."""
    plt.style.use(Path(__file__).with_name("style.mplstyle"))


def headline(figure: Figure, text: str) -> None:
    """The finding, bold over the whole figure, wrapped to its width.

    Parameters
    ----------
    figure : Figure
        It gets the title.
    text : str
        A sentence.
    """
    width = int(figure.get_figwidth() * 11.6)
    figure.suptitle(textwrap.fill(text, width), x=0.01, ha="left", fontsize=10, weight="bold")


def spread(frame: pd.DataFrame, x: str, metric: str = "accuracy", by: str = "method") -> pd.DataFrame:
    """Mean, standard deviation and n over seeds of x and metric, for each line and sparsity.

    Parameters
    ----------
    frame : pd.DataFrame
        Table of runs.
    x : str
        A column.
    metric : str, default 'accuracy'
        A column.
    by : str, default 'method'
        The column that names the lines.

    Raises
    ------
    ValueError
        If a seed has two runs at one point: such settings must not be averaged.
    """
    twice = frame.duplicated([by, "sparsity", "seed"], keep=False)
    if twice.any():
        differ = [name for name in SETTINGS if name in frame and frame.loc[twice, name].nunique() > 1]
        raise ValueError(
            f"two runs of one seed at one point; choose one value first of: {', '.join(differ) or 'key'}"
        )
    groups = frame.groupby([by, "sparsity"], observed=True)
    table = groups.agg(x=(x, "mean"), mean=(metric, "mean"), std=(metric, "std"), n=(metric, "count"))
    return table.fillna({"std": 0.0}).reset_index()


def lines(
    runs: pd.DataFrame,
    axes: Axes,
    x: str,
    y: str,
    by: str = "method",
    err_style: str = "band",
    styles: Mapping[str, dict] | None = None,
) -> pd.DataFrame:
    """Lines through the means over seeds of each sparsity, with one standard deviation, and n in the corner.

    An error stands beside that of the dense network.

    Parameters
    ----------
    runs : pd.DataFrame
        Table of runs.
    axes : Axes
        Where to draw.
    x, y : str
        Columns; the runs of one sparsity are drawn at their mean x.
    by : str, default 'method'
        The column that names the lines.
    err_style : str, default 'band'
        How the deviation is drawn: band or bars.
    styles : Mapping[str, dict], optional
        Line -> its look; each method has its own.

    Returns
    -------
    pd.DataFrame
        The plotted numbers.
    """
    import seaborn as sns  # a second to import, and most users of this module draw no lines

    table = spread(runs, x, y, by)
    placed = runs.merge(table[[by, "sparsity", "x"]], on=[by, "sparsity"])
    edges = {"alpha": 0.15, "linewidth": 0} if err_style == "band" else {"capsize": 2}
    look = {"errorbar": "sd", "err_style": err_style, "err_kws": edges, "legend": False}
    for name, style in (styles or looks(set(runs[by]))).items():
        edge = {"markeredgecolor": style["color"], "label": name}
        sns.lineplot(placed[placed[by] == name], x="x", y=y, ax=axes, **look, **edge, **style)
    if y == "error":
        dense_line(axes, 1 - runs["dense_accuracy"].mean())
    scale(axes, x)
    axes.set_ylabel(LABELS.get(y, y))
    note_n(axes, table["n"])
    return table


def dense_line(axes: Axes, level: float) -> None:
    """The level of the dense network, as a dashed line.

    Parameters
    ----------
    axes : Axes
        Where it is drawn.
    level : float
        In the unit of the axis.
    """
    axes.axhline(level, color=DENSE, linestyle="--", linewidth=1, label="dense")


def scale(axes: Axes, x: str) -> None:
    """Label the axis; ratios on a logarithm of base 2 with plain numbers.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    x : str
        A column that runs along the axis.
    """
    axes.set_xlabel(LABELS.get(x, x))
    if x in ("compression", "speedup_theoretical"):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda value, position: f"{value:g}×")


def logarithm(axes: Axes, which: str, unit: str = "") -> None:
    """Make an axis logarithmic, with plain numbers at 1, 2 and 5 of each power of ten.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    which : str
        x or y.
    unit : str, default ''
        % for shares.
    """
    axes.set(**{f"{which}scale": "log"})
    axis = getattr(axes, f"{which}axis")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    factor = 100 if unit == "%" else 1
    axis.set_major_formatter(lambda value, _: f"{factor * value:g}{unit}")
    axis.set_minor_formatter(NullFormatter())


def note_n(axes: Axes, counts: pd.Series) -> None:
    """Print n; a point with fewer than three seeds is said on the plot's face.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    counts : pd.Series
        Number n of each point.
    """
    low, high = int(counts.min()), int(counts.max())
    text = f"n = {low}" if low == high else f"n = {low} to {high}"
    axes.text(0.99, 0.02, text, transform=axes.transAxes, ha="right", va="bottom", fontsize=7, color=DENSE)
    if low < MINIMUM_SEEDS:
        warning = f"fewer than {MINIMUM_SEEDS} seeds: no conclusion"
        middle = {"ha": "center", "va": "center", "transform": axes.transAxes, "rotation": 20}
        axes.text(0.5, 0.5, warning, fontsize=11, color=GREY, alpha=0.6, **middle)
