"""Commands about measured time: speed."""

import json

import click

from survey_lib.cli.show import JSON, records


@click.command()
@click.argument("names", nargs=-1, metavar="[MODEL]...")
@click.option(
    "--pixels", default=32, type=click.IntRange(16), help="Side of the images, for the models named."
)
@click.option("--compiled/--no-compiled", default=True, help="Also torch.compile (needs a compiler).")
@click.option("--publish", is_flag=True, help="Measure what the course shows and write data/results/speed.")
@JSON
def speed(names: tuple[str, ...], pixels: int, compiled: bool, publish: bool, as_json: bool) -> None:
    """Time a model dense, masked, cut and compiled, beside its MACs.

    ONNX Runtime is timed too where it is installed.

    \b
    survey speed resnet-20                                  about two minutes; the machine should be quiet
    survey speed torchvision:resnet18 --pixels 64 --no-compiled --json > times.json
    survey speed --publish                                  what notebook 12 shows, under six minutes
    """
    if publish and (names or not compiled):
        raise click.UsageError("--publish takes no models: what is published is fixed")
    if not publish and not names:
        raise click.UsageError("name a model, such as resnet-20 or torchvision:resnet18, or give --publish")
    from survey_lib.cli.timings import report
    from survey_lib.experiment import speed as study

    chosen = study.PUBLISHED if publish else dict.fromkeys(names, pixels)
    found = study.measure_all(chosen, compiled=compiled)
    if as_json:
        click.echo(json.dumps({part: records(table) for part, table in found.items()}, indent=1))
    else:
        report(found)
    if publish:
        study.write(found)
        click.echo(f"wrote {', '.join(found)} into {study.FOLDER}", err=as_json)


COMMANDS = (speed,)
