"""How commands show a table: with lines on a terminal, as plain text elsewhere."""

import sys
from pathlib import Path

import click

DIRECTORY = click.Path(file_okay=False, path_type=Path)


def show(table) -> None:
    """Print a data frame, a row a line; an empty cell is a value that does not exist."""
    filled = table.astype(object).where(table.notna(), "")
    if not sys.stdout.isatty():
        click.echo(filled.to_string(index=False))
        return
    from rich import print as on_terminal
    from rich.table import Table
    from rich.text import Text

    shown = Table(header_style="bold cyan", row_styles=["", "dim"])
    for name in filled:
        shown.add_column(Text(str(name)), overflow="fold")
    for row in filled.astype(str).itertuples(index=False):
        shown.add_row(*map(Text, row))
    on_terminal(shown)
