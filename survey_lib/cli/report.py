"""The report of `survey prune`: lines for a terminal or a file, JSON, and one HTML page that needs nothing else."""

import json
from dataclasses import dataclass, field
from html import escape

import click
import pandas as pd

from survey_lib.cli.show import records, show
from survey_lib.steps.result import PruneResult

COUNTS = {"parameters": "parameters", "nonzero": "nonzero", "macs": "MACs"}
RATIOS = COUNTS | {"file_bytes": "file", "seconds": "time"}
STYLE = """:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}
table{border-collapse:collapse;display:block;overflow-x:auto}td,th{padding:.2em .8em;text-align:left;border-bottom:1px solid #8886}"""


@dataclass(frozen=True)
class Report:
    """One pruned model: what was asked for, the stages measured (one row each), and what `prune` returned."""

    model: str
    method: str
    asked: str
    notes: list[str]
    stages: pd.DataFrame
    result: PruneResult
    machine: str
    tested: int  # images
    written: list[str] = field(default_factory=list)  # files, said at the end

    @property
    def title(self) -> str:
        """What was pruned, how, and how far."""
        return f"{self.model} by {self.method}: asked for {self.asked}"

    def ratios(self) -> dict[str, float]:
        """Dense over pruned, after the last stage: 2.0 means half is left."""
        first, last = self.stages.iloc[0], self.stages.iloc[-1]
        return {name: float(first[column] / last[column]) for column, name in RATIOS.items() if last[column]}

    def table(self) -> pd.DataFrame:
        """The stages as a reader wants them; ± is one binomial standard error of an accuracy on the test images."""
        stages = self.stages
        table = pd.DataFrame({"network": stages["network"]})
        for column, name in COUNTS.items():
            table[name] = stages[column].map("{:,}".format)
        table["file, MB"] = (stages["file_bytes"] / 1e6).map("{:.2f}".format)
        table["time, ms"] = (1e3 * stages["seconds"]).map("{:.2f}".format)
        if self.tested:
            error = (stages["test_accuracy"] * (1 - stages["test_accuracy"]) / self.tested) ** 0.5
            points = zip(100 * stages["test_accuracy"], 100 * error, strict=True)
            table["test accuracy, %"] = [f"{mean:.1f} ± {spread:.1f}" for mean, spread in points]
        return table

    def layers(self) -> pd.DataFrame:
        """Layers folded: those whose names differ only in numbers share a row."""
        report = self.result.report
        rows = report.groupby([report["layer"].str.replace(r"\d+", "*", regex=True), "unit"], sort=False)
        table = rows.agg(layers=("layer", "size"), kept=("kept", "sum"), total=("total", "sum")).reset_index()
        return table.assign(share=(table["kept"] / table["total"]).map("{:.0%}".format))

    def lines(self) -> list[str]:
        """What is said below the tables."""
        ratios = ", ".join(f"{name} {value:.2f}" for name, value in self.ratios().items())
        last = self.stages["network"].iloc[-1]
        said = [f"dense / {last}: {ratios}", f"time: median of one input on one thread, {self.machine}"]
        if self.tested:
            said.append(
                f"accuracy: {self.tested:,} test images, ± one standard error; nothing was chosen by them"
            )
        return said

    def show(self, as_json: bool) -> None:
        """Print it."""
        if as_json:
            click.echo(json.dumps(self.values(), indent=1, ensure_ascii=False))
            return
        click.echo("\n".join([self.title, *self.notes]))
        show(self.table())
        click.echo("\n".join([*self.lines(), repr(self.result)]))
        show(self.layers())
        if self.written:
            click.echo("\n".join(self.written))

    def values(self) -> dict:
        """All of it as plain values, every layer in it."""
        named = {"model": self.model, "method": self.method, "asked": self.asked, "notes": self.notes}
        return named | {
            "stages": records(self.stages),
            "ratios": self.ratios(),
            "test_images": self.tested,
            "machine": self.machine,
            "layers": records(self.result.report),
            "left_whole": dict(self.result.skipped),
            "written": self.written,
        }

    def html(self) -> str:
        """One page: the notes, the stages, and every layer with a bar, folded."""
        above, below = (
            "".join(f"<p>{escape(line)}</p>" for line in part) for part in (self.notes, self.lines())
        )
        return (
            f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
            f"<title>{escape(self.title)}</title><style>{STYLE}</style><h1>{escape(self.title)}</h1>{above}"
            f"{self.table().to_html(index=False, border=0)}{below}"
            f"<details><summary>Layers</summary>{self.result._repr_html_()}</details></html>\n"
        )
