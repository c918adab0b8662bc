"""Tables of the site as HTML. Every text from a file is escaped here, and nowhere else."""

import html
import re
from collections.abc import Iterable

import pandas as pd

WIDE = "---\nhtml_theme.sidebar_secondary.remove: true\n---\n\n"  # front matter of a page that is one table


class Html(str):
    """Text that is HTML already; all other text is escaped."""


def escape(value: object) -> str:
    """One cell's text: numbers short, missing values empty, the rest with &, <, > and quotes escaped.

    Examples
    --------
    >>> escape("<b>"), escape(0.5), escape(float("nan")), escape(Html("<b>"))
    ('&lt;b&gt;', '0.5', '', '<b>')
    """
    if isinstance(value, Html):
        return str(value)
    if pd.isna(value):
        return ""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return html.escape(" ".join(text.split()))


def link(text: object, address: str) -> Html:
    """A link; the text is escaped.

    Parameters
    ----------
    text : object
        What is shown.
    address : str
        relative, or http(s).

    Raises
    ------
    ValueError
        For an address that is neither.

    Examples
    --------
    >>> link("a & b", "page.html")
    '<a href="page.html">a &amp; b</a>'
    """
    scheme, colon, _ = address.partition(":")
    if colon and scheme not in ("http", "https"):
        raise ValueError(f"link to {address!r}; allowed are http, https and relative addresses")
    return Html(f'<a href="{html.escape(address)}">{escape(text)}</a>')


def html_table(table: pd.DataFrame, searched: bool = False) -> str:
    """A table as one HTML block that becomes a list of cards on a phone.

    Menus, field and the labels of the cards are added by _static/filter.js, without which the plain table
    stands there.

    Parameters
    ----------
    table : pd.DataFrame
        Data frame.
    searched : bool, default False
        With a field that looks for words in all columns, and menus of columns that have few values.
    """
    kind = "survey-table filterable" if searched else "survey-table"
    safe = table.map(escape).rename(columns=escape)
    with pd.option_context("display.max_colwidth", None):
        inner = safe.to_html(index=False, escape=False, border=0, justify="left", classes=kind)
    return f'<div class="survey-scroll">{inner}</div>'


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
