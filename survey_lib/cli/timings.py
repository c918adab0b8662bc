"""What `survey speed` prints: measured beside theoretical speed-up."""

from collections.abc import Mapping

import click
import pandas as pd

from survey_lib.cli.show import show


def report(found: Mapping[str, pd.DataFrame]) -> None:
    """Print the machine and the measured chain."""
    environment = found["chain"].iloc[0]
    runtime = environment.onnxruntime or "not installed"
    click.echo(f"{environment.machine}, torch {environment.torch}, onnxruntime {runtime}")
    show(chain_table(found["chain"]))


def chain_table(chain: pd.DataFrame) -> pd.DataFrame:
    """One row a measurement: speed-ups over the dense eager model, with quartiles, and the share of the MACs ratio."""
    low, high = (chain[f"speedup_{end}"].map("{:.2f}".format) for end in ("low", "high"))
    table = chain[["model", "variant", "runtime", "batch", "threads"]].assign(
        ms=1e3 * chain["median_s"],
        theoretical=chain["speedup_theoretical"],
        measured=chain["speedup_measured"],
        quartiles=low + " to " + high,
        share=chain["speedup_measured"] / chain["speedup_theoretical"],
        MB=chain["file_bytes"] / 1e6,
    )
    return table.round(2)
