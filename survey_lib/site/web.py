"""Tables, blocks and notebooks as the site shows them. Every text from a file is escaped here, and nowhere else."""

import re
from collections.abc import Iterable

import nbformat
import pandas as pd
from markupsafe import Markup, escape

PICTURE = re.compile(r"!\[([^\]]+)\]\(\.\./docs/figures/([^)\s]+)\.png\)")
OUTSIDE = re.compile(r"(?<!!)\[([^\]]+)\]\(\.\./([^)\s]+)\)")


def link(text: str, address: str) -> Markup:
    """A link; text and address are escaped.

    Parameters
    ----------
    text : str
        What is shown.
    address : str
        Where it leads.

    Examples
    --------
    >>> print(link("a & b", "page.html"))
    <a href="page.html">a &amp; b</a>
    """
    return Markup('<a href="{}">{}</a>').format(address, text)


def html_table(table: pd.DataFrame, searched: bool = False) -> str:
    """A table as one block of HTML that becomes a list of cards on a phone.

    Menus, field and the labels of the cards are added by _static/filter.js, without which the plain table
    stands there.

    Parameters
    ----------
    table : pd.DataFrame
        Data frame; text that is no `Markup` is escaped, numbers are short, missing values empty.
    searched : bool, default False
        With a field that looks for words in all columns, and menus of columns that have few values.
    """
    kind = "survey-table filterable" if searched else "survey-table"
    safe = table.map(_cell).rename(columns=escape)
    with pd.option_context("display.max_colwidth", None):
        inner = safe.to_html(index=False, escape=False, border=0, justify="left", classes=kind)
    return raw(f'<div class="survey-scroll">{inner}</div>')


def _cell(value: object) -> str:
    if pd.isna(value):
        return ""
    return escape(f"{value:.4g}" if isinstance(value, float) else value)


def plain(text: str) -> str:
    r"""Text of a file in a line of MyST: every sign of punctuation stands for itself.

    Examples
    --------
    >>> plain("a <b>\n*c*")
    'a \\<b\\> \\*c\\*'
    """
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split()))


def fence(kind: str, text: str) -> str:
    r"""Text as a block of a MyST page.

    The fences are longer than any row of backticks in it.

    Parameters
    ----------
    kind : str
        Kind of the block.
    text : str
        Text of the block.

    Examples
    --------
    >>> fence("text", "a ``` b")
    '````text\na ``` b\n````\n'
    """
    longest = max(map(len, re.findall("`+", text)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}{kind}\n{text}\n{ticks}\n"


def raw(text: str) -> str:
    r"""HTML as a block of a MyST page.

    Examples
    --------
    >>> raw("<hr>")
    '```{raw} html\n<hr>\n```\n'
    """
    return fence("{raw} html", text)


def findable(page: str, words: Iterable[str]) -> str:
    r"""A MyST page whose search results include it for other words than its own, as entries of the index.

    Parameters
    ----------
    page : str
        A page in MyST.
    words : Iterable[str]
        The words that it is found by.

    Examples
    --------
    >>> print(findable("# OBS\ntext", ["Optimal Brain Surgeon"]))
    # OBS
    <BLANKLINE>
    ```{index} ! Optimal Brain Surgeon
    <BLANKLINE>
    ```
    <BLANKLINE>
    text
    """
    title, _, rest = page.partition("\n")
    entries = ", ".join(f"! {word}" for word in words)
    return f"{title}\n\n{fence('{index} ' + entries, '')}\n{rest}" if entries else page


def for_web(notebook: nbformat.NotebookNode, files: str) -> nbformat.NotebookNode:
    """The notebook as the site shows it; what it says is not changed.

    Pictures of the catalogue lead to their pages; cells with a solution are folded; a picture is described by the
    heading above it.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        A committed notebook.
    files : str
        Address of the repository's files; links to them are left out where it is empty.
    """
    heading = ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            heading = ([line for line in cell.source.splitlines() if line.startswith("#")] or [heading])[-1]
            text = OUTSIDE.sub(rf"[\1]({files}/\2)" if files else r"\1", cell.source)
            cell.source = PICTURE.sub(r"[![\1](../figures/\2.png)](../figures/\2.md)", text)
            continue
        tags = cell.metadata.get("tags", [])
        shown = {"image": {"alt": f"Figure: {heading.lstrip('# ')}"}}
        if "solution" in tags:
            cell.metadata["tags"] = [*tags, "hide-input"]
            shown["code_prompt_show"] = "Show the solution"
        cell.metadata["mystnb"] = shown
    return notebook
