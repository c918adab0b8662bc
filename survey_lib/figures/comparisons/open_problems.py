"""What the field does not know: each problem with a question, papers, and the differences measured so far."""

from __future__ import annotations

import json
import math
import textwrap
from dataclasses import dataclass
from functools import cache

import matplotlib.pyplot as plt
import pandas as pd
import yaml
from matplotlib.axes import Axes
from scipy import stats

from survey_lib.analysis import claims, literature
from survey_lib.analysis.statistics import interval
from survey_lib.charts import plots
from survey_lib.charts.export import Drawing
from survey_lib.charts.intervals import intervals
from survey_lib.experiment import speed

SOURCE = literature.FOLDER / "open_problems.yaml"
OURS, PAPERS = "measured here", "published"
COLUMNS = [
    "problem",
    "says",
    "where",
    "mean",
    "low",
    "high",
    "n",
    "unit",
    "source",
    "claim",
    "over",
    "verdict",
]
LONG = 1_000_000  # more seeds than anyone has


@dataclass(frozen=True)
class Problem:
    """A question nobody has answered: what is `unknown`, who works on it, the evidence, the `direction` it takes.

    ours       claims of data/claims.yaml
    reported   pairs of published rows: `says` (first, second, where), `where`, `first`, `second`, maybe `like` (a claim)
    speed      the evidence is the published measurement of time
    study      the file in data/studies that asks the question here
    """

    title: str
    unknown: str
    papers: list[str]
    direction: str
    study: str
    ours: tuple[str, ...] = ()
    reported: tuple[dict, ...] = ()
    unit: str = "points"
    speed: bool = False


@cache
def problems() -> dict[str, Problem]:
    """Every problem of data/literature/open_problems.yaml by its name."""
    return {
        name: Problem(**fields) for name, fields in yaml.safe_load(SOURCE.read_text(encoding="utf-8")).items()
    }


def evidence() -> pd.DataFrame:
    """Every difference behind the problems, a row each, with the columns of COLUMNS.

    `over`: what low to high covers; ours are 95 % intervals, times are quartiles over the rounds of one machine,
    published numbers have none. `verdict` is that of the claim, and empty for the others.
    `claim` of a published row is the claim of ours that asks the same of another network, if there is one.
    """
    rows = [row for name, problem in problems().items() for row in _rows(name, problem)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _rows(name: str, problem: Problem) -> list[tuple]:
    stored, declared = json.loads(claims.FILE.read_text(encoding="utf-8")), claims.claims()
    rows = []
    for key in problem.ours:
        first, second, where = declared[key].says
        found = stored[key]
        rows.append(
            (
                name,
                f"{first} − {second}",
                where,
                *(found[part] for part in ("mean", "low", "high", "n", "unit")),
                OURS,
                key,
                found["over"],
                found["verdict"],
            )
        )
    for pair in problem.reported:
        first, second, where = pair["says"]
        gap = difference(pair, problem.unit)
        rows.append(
            (
                name,
                f"{first} − {second}",
                where,
                gap,
                math.nan,
                math.nan,
                1,
                problem.unit,
                PAPERS,
                pair.get("like", ""),
                "",
                "",
            )
        )
    return rows + (_times(name) if problem.speed else [])


def difference(pair: dict, unit: str = "points") -> float:
    """First minus second of two published rows: percentage points, or nats from two perplexities.

    Raises ValueError unless each side is exactly one row.
    """
    table = literature.published().query(pair["where"])
    sides = [table.query(pair[side])["pruned_metric"] for side in ("first", "second")]
    if [len(side) for side in sides] != [1, 1]:
        raise ValueError(
            f"{pair['says']}: each side must be one published row, found {[len(side) for side in sides]}"
        )
    first, second = (side.iloc[0] for side in sides)
    return round(math.log(first / second), 4) if unit == "nats" else round(first - second, 4)


def _times(name: str) -> list[tuple]:
    chain = speed.read()["chain"]
    rows = chain[
        (chain["runtime"] == "eager")
        & (chain["variant"] == "aligned")
        & (chain["threads"] == 1)
        & (chain["batch"] == speed.USUAL)
    ]
    return [
        (
            name,
            "measured speed-up − MACs ratio",
            f"({row.model}, half of the channels)",
            *(
                value - row.speedup_theoretical
                for value in (row.speedup_measured, row.speedup_low, row.speedup_high)
            ),
            speed.ROUNDS,
            "× of speed",
            OURS,
            "",
            "rounds (quartiles)",
            "",
        )
        for row in rows.itertuples()
    ]


def seeds_needed(gaps: list[float], effect: float, confidence: float = 0.95) -> int:
    """Fewest seeds whose Student interval is narrower than `effect` on each side, at the spread of `gaps`.

        smallest n ≥ 2 with  t(n − 1) · s / √n ≤ effect

    A plan, not a promise: s is itself uncertain. Raises ValueError for an effect that is not positive.

    >>> seeds_needed([1.0, 2.0, 3.0], effect=1.0)
    7
    """
    if effect <= 0:
        raise ValueError(f"effect must be above 0, got {effect}")
    spread = pd.Series(gaps).std(ddof=1)
    n = 2
    while stats.t.ppf((1 + confidence) / 2, n - 1) * spread / math.sqrt(n) > effect and n < LONG:
        n += 1
    return n


def open_problems() -> Drawing:
    """All problems, a strip each: differences with their intervals; hollow where a claim is a tie."""
    table = evidence()
    names = list(problems())
    sizes = table["problem"].value_counts()
    figure, grid = plt.subplots(
        math.ceil(len(names) / 2),
        2,
        figsize=(8.6, 11.5),
        height_ratios=[0.6 + sizes[names[i : i + 2]].max() for i in range(0, len(names), 2)],
    )
    for axes, name in zip(grid.flat, names, strict=False):
        strip(table[table["problem"] == name], axes)
        axes.set_title(problems()[name].title, fontsize=9, loc="left")
    for axes in grid.flat[len(names) :]:
        axes.set_visible(False)
    ours = table[table["verdict"] != ""]
    settled = int((ours["verdict"] != "tie").sum())
    text = f"{settled} of {len(ours)} comparisons made here are significant, each on one network and one data set"
    plots.headline(figure, text)
    caption = (
        f"Evidence for {len(names)} open problems. Circles: differences measured here, with 95 % intervals (of times: "
        f"quartiles over rounds), hollow where methods tie after correction. Squares: differences of two published numbers. {text}."
    )
    return Drawing(figure, caption, f"{len(names)} small plots of differences around zero. {text}.", table)


def strip(rows: pd.DataFrame, axes: Axes) -> None:
    """One problem's differences around zero, each under its name."""
    rows = rows.iloc[::-1].reset_index(drop=True)
    for source, some in rows.groupby("source"):
        colour, marker = (plots.PALETTE[0], "o") if source == OURS else (plots.PALETTE[1], "s")
        intervals(some, axes, some.index, unit=1, color=colour, marker=marker)
    for place, row in enumerate(rows.itertuples()):
        name = textwrap.shorten(f"{row.says} {row.where}", 88, placeholder=" …")
        text = axes.annotate(
            name,
            (0.01, place + 0.27),
            xycoords=("axes fraction", "data"),
            fontsize=6,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
        )
        text.set_in_layout(False)  # or a long name would narrow its plot
    axes.set(ylim=(-0.5, len(rows) - 0.25), yticks=[])
    axes.set_xlabel(rows["unit"].iloc[0], fontsize=7, labelpad=1)
    axes.tick_params(labelsize=7)


def plan(effect: float = 1.0) -> pd.DataFrame:
    """For every tie in points: seeds it has, spread over seeds, and the seeds an interval of ±`effect` would take."""
    stored = json.loads(claims.FILE.read_text(encoding="utf-8"))
    rows = {
        name: {
            "has": found["n"],
            "spread": pd.Series(found["seeds"]).std(ddof=1),
            "half interval": interval(pd.Series(found["seeds"])).high - found["mean"],
            "needs": seeds_needed(found["seeds"], effect),
        }
        for name, found in stored.items()
        if found["unit"] == "points" and found["verdict"] == "tie"
    }
    return pd.DataFrame(rows).T.astype({"has": int, "needs": int}).sort_values("needs")
