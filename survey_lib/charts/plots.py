"""Plots of results and parts of schematic drawings in one house style. They draw on axes; none imports torch.

Every method has one colour and one marker, the same in all figures of the course. The dense level is a dashed line,
random is grey. Mean and spread over seeds are a line and a band; n is printed, and n < 3 is said on the plot's face.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

COLOURS: dict[str, dict[str, str]] = yaml.safe_load(Path(__file__).with_name("colours.yaml").read_text())
PALETTE = tuple(COLOURS)[:7]
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
GREY, PALE, DENSE, EMPTY = "#999999", "#DDDDDD", "#222222", "#F2F2F2"
RANDOM_MARKERS = "x+*1234"
HOME = {name: (colour, marker) for colour, names in COLOURS.items() for name, marker in names.items()}
LABELS = {
    "accuracy": "test accuracy",
    "error": "test error",
    "compression": "compression (dense / kept parameters)",
    "speedup_theoretical": "theoretical speed-up (dense / kept MACs)",
    "sparsity": "sparsity (fraction removed)",
}
MINIMUM_SEEDS = 3
SIGNIFICANT = 0.05


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


def looks(methods: Iterable[str]) -> dict[str, dict]:
    """Colour and marker of each method: fixed by its name, grey for random, and no two share both.

    A variant ("snip shuffled", "nm-magnitude:2:4") has the colour of its method and, beside it, another
    marker.

    Examples
    --------
    >>> looks(["fpgm", "random"])["random"]["color"]
    '#999999'
    """
    styles: dict[str, dict] = {}
    for name in sorted(methods, key=lambda name: (name not in HOME, name)):
        colour, marker = _home(name)
        markers = RANDOM_MARKERS if colour == GREY else MARKERS
        start = markers.index(marker)
        markers = markers[start:] + markers[:start]
        free = ({"color": one, "marker": mark} for one in (colour, *COLOURS) for mark in markers)
        styles[name] = next(style for style in free if style not in styles.values())
    return {name: styles[name] for name in sorted(styles)}


def _home(name: str) -> tuple[str, str]:
    """Colour and marker that belong to a method; another name has what is free after the first."""
    base = name.split(":")[0].split(" ")[0].strip(",")
    if base.startswith("random"):
        return GREY, RANDOM_MARKERS[0]
    return HOME.get(base, (PALETTE[0], MARKERS[0]))


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
    if frame.duplicated([by, "sparsity", "seed"]).any():
        raise ValueError("two runs of one seed at one point: choose one setting first")
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


def intervals(
    table: pd.DataFrame, axes: Axes, at: Sequence[float] | None = None, *, unit: float = 100, **style
) -> None:
    """Draw `mean` with its symmetric interval, which ends at `high`, of each row, times `unit`, and a line at zero.

    A mark is hollow where the row's `corrected` p (or `verdict`) says that the difference is a tie; the grey
    dots beside it are the row's `seeds`. Both columns may be missing. Rows are drawn from top to bottom, or
    at `at`.

    Parameters
    ----------
    table : pd.DataFrame
        mean, high, and perhaps corrected, verdict, seeds.
    axes : Axes
        Where to draw.
    at : Sequence[float], optional
        Where each row is drawn.
    unit : float, default 100
        Factor on all numbers.
    **style
        Of the marks and for the legend, as matplotlib takes it.
    """
    at = np.arange(len(table))[::-1] if at is None else np.asarray(at, dtype=float)
    mean, high = (unit * table[name].to_numpy(float) for name in ("mean", "high"))
    reach = np.nan_to_num(high - mean)  # a published number has no interval
    style = {"color": PALETTE[0], "marker": "o", "markersize": 5, "linestyle": ""} | style
    axes.errorbar(mean, at, xerr=reach, capsize=2, linewidth=1.2, **style)
    hollow = _ties(table)
    axes.plot(mean[hollow], at[hollow], **style | {"markerfacecolor": "white", "label": None}, zorder=3)
    for place, seeds in zip(at, table["seeds"] if "seeds" in table else (), strict=False):
        axes.plot(unit * np.array(seeds), [place - 0.25] * len(seeds), ".", color=GREY, markersize=3)
    axes.axvline(0, color=DENSE, linestyle="--", linewidth=1)


def names(table: pd.DataFrame, labels: Sequence[str], axes: Axes) -> None:
    """Write the labels beside rows that were drawn from top to bottom.

    Parameters
    ----------
    table : pd.DataFrame
        What was drawn.
    labels : Sequence[str]
        One label a row.
    axes : Axes
        Where to draw.
    """
    axes.set_yticks(range(len(table)), list(labels)[::-1])


def _ties(table: pd.DataFrame) -> np.ndarray:
    if "verdict" in table:
        return table["verdict"].eq("tie").to_numpy()
    return table.get("corrected", pd.Series(0.0, table.index)).astype(float).ge(SIGNIFICANT).to_numpy()


def box(axes: Axes, x: float, y: float, text: str, colour: str, **font) -> None:
    """A word in a box with round corners.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    x : float
        Middle of the box.
    y : float
        Middle of the box.
    text : str
        The word.
    colour : str
        Colour of the edge.
    **font
        How the word is written, as matplotlib takes it.
    """
    style = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": colour, "linewidth": 1.4}
    axes.text(x, y, text, **{"ha": "center", "va": "center", "fontsize": 9, "bbox": style} | font)


def layer(
    axes: Axes, x: float, top: float, name: str, colours: Sequence[str], labels: Sequence[str] = (), **font
) -> None:
    """A layer as a column of channels, the first on top, each numbered on its left.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    x : float
        Left edge.
    top : float
        Upper edge.
    name : str
        Name above the column.
    colours : Sequence[str]
        One a channel.
    labels : Sequence[str], default ()
        What is written into the channels.
    **font
        How name and labels are written.
    """
    bottoms = top - 0.5 * np.arange(1, len(colours) + 1)
    bars = axes.barh(bottoms, 0.7, 0.44, x, align="edge", color=colours, edgecolor=GREY, linewidth=0.7)
    if labels:
        axes.bar_label(bars, labels, label_type="center", **font)
    for number, bottom in enumerate(bottoms):
        axes.text(x - 0.08, bottom + 0.21, str(number), ha="right", va="center", fontsize=8, color=GREY)
    axes.text(x + 0.35, top + 0.12, name, ha="center", va="bottom", **font)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], bend: float = 0.0) -> None:
    """Data flow from one point to another.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    start : tuple[float, float]
        Where it starts, (x, y).
    end : tuple[float, float]
        Where it ends, (x, y).
    bend : float, default 0.0
        Curves it, as a shortcut does.
    """
    how = {"arrowstyle": "->", "color": GREY, "linewidth": 1.2, "connectionstyle": f"arc3,rad={bend}"}
    axes.annotate("", xy=end, xytext=start, arrowprops=how)
