"""Commands about measured time: speed."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import click

from survey_lib.cli.show import DIRECTORY, JSON, records


@click.command()
@click.argument("names", nargs=-1, metavar="[MODEL]...")
@click.option("--pixels", default=32, help="Side of the images, for the models named.")
@click.option(
    "--seconds",
    default=0.2,
    type=click.FloatRange(0, min_open=True),
    help="Least time for each model and setting.",
)
@click.option("--compiled/--no-compiled", default=True, help="Also torch.compile (needs a compiler).")
@click.option("--out", type=DIRECTORY, help="Write the four tables into this folder.")
@click.option("--publish", is_flag=True, help="Measure what the course shows and write data/results/speed.")
@JSON
def speed(
    names: tuple[str, ...],
    pixels: int,
    seconds: float,
    compiled: bool,
    out: Path | None,
    publish: bool,
    as_json: bool,
) -> None:
    """Time a model dense, masked, cut and compiled, beside its MACs.

    ONNX Runtime is timed too where it is installed.

    \b
    survey speed resnet-20                                  about two minutes; the machine should be quiet
    survey speed torchvision:resnet18 --pixels 64 --no-compiled --out times
    survey speed --publish                                  what notebook 12 shows, under six minutes
    """
    if publish and (names or out or not compiled):
        raise click.UsageError("--publish takes neither models nor --out: what is published is fixed")
    if not publish and not names:
        raise click.UsageError("name a model, such as resnet-20 or torchvision:resnet18, or give --publish")
    from survey_lib.cli.timings import report
    from survey_lib.experiment import speed as study
    from survey_lib.experiment.files import into

    chosen = study.PUBLISHED if publish else dict.fromkeys(names, pixels)
    with into(out, [f"{part}.csv" for part in study.PARTS]) if out else nullcontext(study.FOLDER) as folder:
        found = study.measure_all(chosen, seconds=seconds, compiled=compiled)
        if as_json:
            click.echo(json.dumps({part: records(table) for part, table in found.items()}, indent=1))
        else:
            report(found)
        if publish or out:
            written = study.write(found, folder)
            click.echo(f"wrote {', '.join(path.name for path in written)} into {out or folder}", err=as_json)


COMMANDS = (speed,)
