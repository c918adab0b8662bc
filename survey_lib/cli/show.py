"""How commands show data: a table with lines on a terminal, plain text elsewhere, JSON where it is asked for."""

import json
import sys
from pathlib import Path

import click

DIRECTORY = click.Path(file_okay=False, path_type=Path)
JSON = click.option("--json", "as_json", is_flag=True, help="Print the data as JSON.")


def show(table, as_json: bool = False) -> None:
    """Print a data frame, a row a line.

    An empty cell is a value that does not exist; in JSON it is null.

    Parameters
    ----------
    table
        Data frame.
    as_json : bool, default False
        As JSON lines.
    """
    if as_json:
        click.echo(json.dumps(records(table), indent=1, ensure_ascii=False))
    elif sys.stdout.isatty():
        _on_terminal(_filled(table).astype(str))
    else:
        click.echo(_filled(table).to_string(index=False))


def _filled(table):
    return table.astype(object).where(table.notna(), "")


def records(table) -> list[dict]:
    """The rows as plain values that JSON knows; a missing value is None."""
    return json.loads(table.to_json(orient="records", double_precision=15))


def _on_terminal(texts) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(header_style="bold cyan", row_styles=["", "dim"])
    for name in texts:
        shown.add_column(Text(str(name)), overflow="fold")
    for row in texts.itertuples(index=False):
        shown.add_row(*map(Text, row))
    Console().print(shown)
