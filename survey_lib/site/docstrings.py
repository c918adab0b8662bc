"""The library's docstrings, which are plain text, as reStructuredText."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection

CODE = re.compile(r"`([^`]+)`")
KEY = re.compile(r"\b[a-z]+[12]\d{3}[a-z0-9]+\b")
SPECIAL = re.compile(r"([\\*|_`])")
COLUMNS = re.compile(r"^\S.*?\s{3,}\S")


def blocks(text: str | None) -> list[tuple[str, str]]:
    """Paragraphs with their kind: prose, code (an example that runs), or plain (columns, indented lines).

    >>> blocks("One line.\\n\\n>>> 1 + 1\\n2")
    [('prose', 'One line.'), ('code', '>>> 1 + 1\\n2')]
    """
    paragraphs = re.split(r"\n[ \t]*\n", inspect.cleandoc(text or "").replace("\b", "").strip())
    return [(_kind(paragraph), paragraph) for paragraph in paragraphs if paragraph.strip()]


def _kind(paragraph: str) -> str:
    lines = paragraph.splitlines()
    if lines[0].lstrip().startswith(">>>"):
        return "code"
    plain = any(line.startswith((" ", "-", "*")) or COLUMNS.match(line) for line in lines)
    return "plain" if plain else "prose"


def as_rst(text: str | None, keys: Collection[str] = ()) -> list[str]:
    """The lines for Sphinx; nothing in the text is read as markup but `code` and the keys of papers.

    >>> as_rst("Sum of |w|, `score` (han2015learning).", {"han2015learning"})[0]
    'Sum of \\\\|w\\\\|, \\\\ ``score``\\\\  (:cite:t:`han2015learning`).'
    """
    lines: list[str] = []
    for kind, paragraph in blocks(text):
        if kind == "prose":
            lines += [_prose_rst(line, keys) for line in _joined_code(paragraph).splitlines()]
        else:
            lines += ["::" if kind == "plain" else ".. code-block:: pycon", ""]
            lines += ["    " + line for line in paragraph.splitlines()]
        lines.append("")
    return lines


def _joined_code(paragraph: str) -> str:
    """`code` that runs over a line's end stays on one line."""
    return CODE.sub(lambda found: found.group().replace("\n", " "), paragraph)


def _prose_rst(line: str, keys: Collection[str]) -> str:
    def escaped(text: str) -> str:
        text = SPECIAL.sub(r"\\\1", text)
        return KEY.sub(lambda key: f":cite:t:`{key.group()}`" if key.group() in keys else key.group(), text)

    parts = CODE.split(line)  # code and prose in turn; what is between backslashes may touch a letter
    return "".join(f"\\ ``{part}``\\ " if place % 2 else escaped(part) for place, part in enumerate(parts))
