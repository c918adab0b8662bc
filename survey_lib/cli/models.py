"""Commands about methods and single models: methods, prune, doctor."""

import difflib
from pathlib import Path

import click

from survey_lib.cli.show import JSON, show


@click.command()
@click.option("--category", help="weight, pattern, filter, channel, depth or head.")
@click.option("--when", help="before, during or after training.")
@click.option(
    "--needs", help="Only methods that read this evidence, such as grad, or `nothing` for data-free ones."
)
@click.option(
    "--described", is_flag=True, help="The literature's other methods, and why they do not run here."
)
@JSON
@click.argument("words", nargs=-1)
def methods(
    category: str | None,
    when: str | None,
    needs: str | None,
    described: bool,
    as_json: bool,
    words: tuple[str, ...],
) -> None:
    """List the methods, all of them or those that match WORDS.

    Every word must occur in the name or the description.

    \b
    survey methods
    survey methods --category filter --needs nothing
    survey methods hessian
    survey methods --described
    """
    if described:
        from survey_lib.analysis import literature

        table = literature.described().reset_index()
        if as_json:
            return show(table, as_json)
        for row in table.itertuples():
            click.echo(f"{row.method_name} ({row.key}, {row.granularity}, {row.when} training)")
            click.echo(f"    {row.one_line}\n    Not here: {row.reason}")
        return
    from survey_lib.analysis.tables import matching
    from survey_lib.catalogue import METHODS

    rows = matching(category, when, needs, words)
    if rows.empty:
        near = difflib.get_close_matches(" ".join(words), METHODS, 4, 0.5)
        said = f"; near: {', '.join(near)}" if near else ""
        raise click.ClickException(f"no method matches all of that{said}; `survey methods` lists every one")
    shown = ["method", "category", "when", "cost", "paper", "what it does"]
    show(rows if as_json else rows[shown], as_json)
    if not as_json:
        click.echo(f"{len(rows)} methods; --json has every column, `survey cite PAPER` the reference")


@click.command()
@click.option(
    "--model", required=True, help="resnet-20, torchvision:resnet18, or your package.module:function."
)
@click.option("--method", required=True, help="A name of `survey methods`; nm-magnitude:2:4 picks a pattern.")
@click.option("--sparsity", type=float, help="Fraction of the units to remove, in [0, 1).")
@click.option(
    "--macs", type=float, help="Instead: share of the dense multiply-adds that may stay, in (0, 1]."
)
@click.option(
    "--parameters", type=float, help="Instead: share of the dense parameters that may stay, in (0, 1]."
)
@click.option(
    "--weights", help="A safetensors file with the dense weights, or resnet-8-eurosat32 of the course."
)
@click.option(
    "--data",
    "dataset",
    help="Gives shape, classes and batches; else eurosat32-mini, and 224 px without data for torchvision.",
)
@click.option(
    "--finetune", "epochs", type=click.IntRange(0), default=0, help="Epochs of training after the cut."
)
@click.option("--out", type=click.Path(path_type=Path), help="Save weights and plan as one safetensors file.")
@click.option("--onnx", type=click.Path(path_type=Path), help="Also export to ONNX (extra `deploy`).")
@click.option("--html", type=click.Path(path_type=Path), help="Also write the report as one HTML page.")
@click.option("--seed", default=0)
@JSON
def prune(as_json: bool, **wishes: object) -> None:
    """Prune one model; say accuracy, size and time before and after.

    Each is measured before the cut, after it and after fine-tuning; --out saves the result.

    \b
    survey prune --model resnet-8 --weights resnet-8-eurosat32 --method l1-filter --sparsity 0.5 --finetune 3
    survey prune --model resnet-8 --weights mine.safetensors --method l1-filter --macs 0.5 --html report.html
    survey prune --model torchvision:resnet50 --method group-norm --parameters 0.5 --out r50.safetensors
    """
    from survey_lib.cli.pruning import prune_once

    prune_once(**wishes).show(as_json)


@click.command()
@JSON
def doctor(as_json: bool) -> None:
    """Say what is installed, and which data sets are found."""
    from survey_lib.cli.doctor import examine

    show(examine(), as_json)


COMMANDS = (methods, prune, doctor)
