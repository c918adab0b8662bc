"""The generated tables of the README: methods, figures, and the networks that can be cut."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from survey_lib.analysis.tables import markdown, matching
from survey_lib.figures.catalogue.entries import FIGURES

README = Path(__file__).parents[2] / "README.md"

METHOD_COLUMNS = ["method", "category", "when", "cost", "what it does", "paper", "notebook"]


def figures_table() -> pd.DataFrame:
    """One row a figure: thumbnail, name, what it asks, the notebook that discusses it, the study it is drawn from."""
    rows = [(f'<img src="docs/figures/{name}.png" width="220" alt="{e.question}">', f"`{name}`", e.question, e.notebook,
             e.study or "none") for name, e in FIGURES.items()]  # fmt: skip
    return pd.DataFrame(rows, columns=["", "figure", "asks", "notebook", "study"])


def zoo_table() -> pd.DataFrame:
    """One row a torchvision family, from what benchmarks/zoo.py measured; at most two of its fixed layers."""
    rows = pd.read_csv(README.parent / "benchmarks" / "zoo.csv")
    rows["left"] = rows["parameters_after"] / rows["parameters_before"]
    left = rows.pivot(index="model", columns="sparsity", values="left")
    groups = rows.groupby("model", sort=False)
    table = groups[["groups", "channels"]].max()
    for sparsity in left:
        table[f"parameters left at {sparsity:g}"] = left[sparsity].map("{:.0%}".format)
    table["masked against cut"] = groups["masked_equals_cut"].last()
    table["error"] = groups["error"].max().map("{:.0e}".format)
    table["trace, s"] = groups["trace_s"].median().round(2)
    table["peak, GB"] = groups["peak_gb"].max()
    table["fixed, and why"] = groups["fixed"].last().map(lambda text: "; ".join(text.split("; ")[:2]))
    return table.reset_index()


def generated(text: str) -> str:
    """The text with every part between `<!-- begin NAME -->` and `<!-- end NAME -->` drawn again.

    Raises ValueError if a mark is missing.
    """
    for name, table in (("methods", matching()[METHOD_COLUMNS]), ("figures", figures_table()), ("zoo", zoo_table())):
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        if begin not in text or end not in text:
            raise ValueError(f"the text lacks the marks {begin} and {end}")
        text = f"{text.partition(begin)[0]}{begin}\n{markdown(table)}\n{end}{text.partition(end)[2]}"
    return text


def update() -> Path:
    """Write the README with its tables drawn again."""
    README.write_text(generated(README.read_text(encoding="utf-8")), encoding="utf-8")
    return README
