"""Commands about methods and single models: methods, prune, doctor."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--category", help="weight, pattern, filter, channel, depth or head.")
@click.option("--when", help="before, during or after training.")
@click.option("--needs", help="Only methods that read this evidence, or `nothing` for data-free ones.")
@click.option(
    "--described", is_flag=True, help="The literature's other methods, and why they do not run here."
)
@click.argument("words", nargs=-1)
def methods(
    category: str | None, when: str | None, needs: str | None, described: bool, words: tuple[str, ...]
) -> None:
    """List the methods; WORDS must all occur in the name or the description.

    \b
    survey methods
    survey methods --category filter --needs nothing
    survey methods hessian
    survey methods --described
    """
    if described:
        from survey_lib.analysis import literature

        for key, row in literature.described().iterrows():
            click.echo(f"{row.method_name} ({key}, {row.granularity}, {row.when} training)")
            click.echo(f"    {row.one_line}\n    Not here: {row.reason}")
        return
    from survey_lib.analysis.tables import matching

    rows = matching(category, when, needs, words)
    shown = rows[
        ["method", "category", "unit", "structure", "when", "scope", "cost", "year", "paper", "what it does"]
    ]
    click.echo(shown.to_string(index=False))
    click.echo(f"{len(rows)} methods; survey_lib.catalogue.table() has every column")


@click.command()
@click.option(
    "--model", required=True, help="resnet-20, torchvision:resnet18, or your package.module:function."
)
@click.option("--method", required=True, help="A name of `survey methods`; nm-magnitude:2:4 picks a pattern.")
@click.option("--sparsity", type=float, help="Fraction of the units to remove, in [0, 1).")
@click.option("--macs", type=float, help="Instead: share of the dense multiply-adds that may stay, in (0, 1].")
@click.option("--parameters", type=float, help="Instead: share of the dense parameters that may stay, in (0, 1].")
@click.option("--weights", type=click.Path(path_type=Path), help="A safetensors file with the dense weights.")
@click.option(
    "--data",
    "dataset",
    help="Gives shape, classes and batches; else eurosat32-mini, and 224 px without data for torchvision.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Save weights and plan as one safetensors file.")
@click.option("--onnx", type=click.Path(path_type=Path), help="Also export to ONNX (extra `deploy`).")
@click.option("--seed", default=0, show_default=True)
def prune(**wishes: object) -> None:
    """Prune one model once, and report parameters, MACs and measured time before and after.

    \b
    survey prune --model resnet-20 --data eurosat32-mini --method l1-filter --sparsity 0.5 --out s.safetensors
    survey prune --model torchvision:resnet50 --method group-norm --macs 0.5 --out r50.safetensors
    """
    from survey_lib.cli.pruning import prune_once

    click.echo(prune_once(**wishes))


@click.command()
def doctor() -> None:
    """Tell what is installed, how many threads are used, and which data sets and results are found."""
    from survey_lib.cli.pruning import examine

    click.echo(examine())


COMMANDS = (methods, prune, doctor)
