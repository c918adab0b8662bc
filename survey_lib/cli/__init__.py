"""`survey`: one thin command for each thing the library can do; torch is imported only where needed."""

import sys
from pathlib import Path

import click

OPTIONAL = "pip install -e '.[dask,deploy]' brings all that is optional"
DIRECTORY = click.Path(file_okay=False, path_type=Path)


class Survey(click.Group):
    """A refusal of the library says what is allowed and what to do: one line, not a traceback."""

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except (ValueError, OSError) as error:
            raise click.ClickException(str(error)) from error
        except ModuleNotFoundError as error:
            raise click.ClickException(f"{error.name} is not installed; {OPTIONAL}") from error


SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True}


@click.group(cls=Survey, context_settings=SETTINGS)
@click.version_option(package_name="survey_lib")
def main() -> None:
    """Neural network pruning, from formula to measured time.

    \b
    survey reproduce --profile quick     run the course again: a small sweep, all notebooks, all figures
    survey methods --category filter     which methods there are
    survey prune --model resnet-20 --method l1-filter --sparsity 0.5 --out small.safetensors
    survey speed resnet-20               time it masked, cut, compiled, exported, on this machine
    survey results comparison            the published numbers of a study
    survey figure tradeoff               draw one figure again, with its data sheet
    survey COMMAND --help                everything about one command
    """


def show(table) -> None:
    """Print a data frame: with lines on a terminal, as plain text elsewhere; an empty cell is a value that does not exist."""
    filled = table.astype(object).where(table.notna(), "")
    if not sys.stdout.isatty():
        click.echo(filled.to_string(index=False))
        return
    from rich.console import Console
    from rich.table import Column, Table

    columns = [Column(name, overflow="fold") for name in filled]
    shown = Table(*columns, header_style="bold cyan", row_styles=["", "dim"])
    for row in filled.astype(str).itertuples(index=False):
        shown.add_row(*row)
    Console(markup=False, highlight=False).print(shown)


from survey_lib.cli import course, models, studies  # noqa: E402, F401  the commands register themselves on `main`
