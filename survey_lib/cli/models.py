"""Commands about methods and single models: methods, prune, speed, doctor."""

from pathlib import Path

import click

from survey_lib.cli import main, show


@main.command()
@click.option("--category", help="weight, pattern, filter, channel, depth or head.")
@click.option("--when", help="before, during or after training.")
@click.option("--needs", help="Only methods that read this, such as grad, or `nothing`.")
@click.option("--described", is_flag=True, help="Methods of papers that do not run here, and why not.")
@click.argument("words", nargs=-1)
def methods(described: bool, **wishes: object) -> None:
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

        return show(literature.described().reset_index())
    from survey_lib.analysis.tables import matching

    rows = matching(**wishes)
    if rows.empty:
        raise click.ClickException("no method matches all of that; `survey methods` lists every one")
    show(rows[["method", "category", "when", "cost", "paper", "what it does"]])
    click.echo(f"{len(rows)} methods; `survey cite PAPER` has the reference")


@main.command()
@click.option("--model", required=True, help="resnet-20, torchvision:resnet18, or package.module:function.")
@click.option("--method", required=True, help="A name of `survey methods`; nm-magnitude:2:4 picks a pattern.")
@click.option("--sparsity", type=float, help="Fraction of the units to remove, in [0, 1).")
@click.option("--macs", type=float, help="Instead: share of the multiply-adds that may stay, in (0, 1].")
@click.option("--parameters", type=float, help="Instead: share of the parameters that may stay, in (0, 1].")
@click.option("--weights", help="A safetensors file of the dense network, or resnet-8-eurosat32.")
@click.option("--data", default="eurosat32-mini", help="Images to prune, fine-tune and test on.")
@click.option("--finetune", "epochs", type=click.IntRange(0), default=0, help="Epochs after the cut.")
@click.option("--out", type=click.Path(path_type=Path), help="Save weights and plan as one safetensors file.")
def prune(**wishes: object) -> None:
    """Prune one model; say accuracy, size and time before and after.

    Each is measured before the cut, after it and after fine-tuning; --out saves the result.

    \b
    survey prune --model resnet-8 --weights resnet-8-eurosat32 --method l1-filter --sparsity 0.5 --finetune 3
    survey prune --model resnet-8 --weights mine.safetensors --method l1-filter --macs 0.5 --out small.safetensors
    """
    from survey_lib.cli.pruning import prune_once

    prune_once(**wishes)


@main.command()
@click.argument("names", nargs=-1, metavar="[MODEL]...")
@click.option("--pixels", default=32, type=click.IntRange(16), help="Side of the images.")
@click.option("--compiled/--no-compiled", default=True, help="Also torch.compile (needs a compiler).")
@click.option("--publish", is_flag=True, help="Measure what the course shows and write data/results/speed.")
def speed(names: tuple[str, ...], pixels: int, compiled: bool, publish: bool) -> None:
    """Time a model dense, masked, cut and compiled, beside its MACs.

    ONNX Runtime is timed too where it is installed.

    \b
    survey speed resnet-20                                  about two minutes; the machine should be quiet
    survey speed torchvision:resnet18 --pixels 64 --no-compiled
    survey speed --publish                                  what notebook 12 shows, under six minutes
    """
    if publish == bool(names) or (publish and not compiled):
        raise click.UsageError("name a model, such as resnet-20, or give --publish and nothing else")
    from survey_lib.experiment import speed as study

    chosen = study.PUBLISHED if publish else dict.fromkeys(names, pixels)
    found = study.measure_all(chosen, compiled=compiled)
    environment = found["chain"].iloc[0]
    runtime = environment.onnxruntime or "not installed"
    click.echo(f"{environment.machine}, torch {environment.torch}, onnxruntime {runtime}")
    show(chain_table(found["chain"]))
    if publish:
        study.write(found)
        click.echo(f"wrote {', '.join(found)} into {study.FOLDER}")


def chain_table(chain):
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


@main.command()
def doctor() -> None:
    """Say what is installed, and which data sets are found."""
    import pandas as pd
    import torch

    from survey_lib.experiment.data import loaders
    from survey_lib.experiment.runs.record import environment
    from survey_lib.repository import versions

    rows = environment() | versions(["pandas", "matplotlib", "papermill", "distributed", "onnxruntime"])
    rows["accelerator"] = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    rows["data folder"] = f"{loaders.folder()} (SURVEY_DATA chooses another)"
    for name, source in loaders.SOURCES.items():
        try:
            read = loaders.load(name)
            sizes = (f"{len(labels):,}" for _, labels in (read.train, read.validation, read.test))
            rows[f"data {name}"] = " / ".join(sizes) + " images"
        except FileNotFoundError:
            rows[f"data {name}"] = f"not found; {source.ways.splitlines()[0]}"
        except ValueError as error:  # for files that were changed
            rows[f"data {name}"] = str(error)
    show(pd.DataFrame(rows.items(), columns=["what", "found"]).replace("", "not installed"))
