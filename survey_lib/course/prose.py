"""Numbers in prose: each is followed by a hidden comment that computes it, so that no number is typed by hand."""

import ast
import operator
import re
from collections.abc import Iterator
from dataclasses import dataclass
from inspect import getmembers, isfunction
from pathlib import Path

import nbformat
from nbformat.v4 import new_markdown_cell, new_notebook

from survey_lib.analysis import numbers
from survey_lib.lookup import known

ALLOWED = dict(getmembers(numbers, lambda one: isfunction(one) and one.__module__ == numbers.__name__))
GIVEN = "given"  # a setting chosen by the writer, not a result
COMMENT = re.compile(r"<!--=\s*(.+?)\s*-->", re.DOTALL)
BOLD = re.compile(r"\*\*([^*\n]+)\*\*$")
NUMBER = r"[+−-]?\d[\d,]*(?:\.\d+)?"
ARITHMETIC = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


@dataclass(frozen=True)
class Number:
    """A number in a text: as printed, the expression behind it, and as computed now."""

    printed: str
    expression: str
    computed: str
    start: int


def compute(expression: str) -> str:
    """The text of an expression over findings, levels of a study and published rows.

    Names are those of `survey_lib.analysis.numbers`: `finding("…")`, `level("…", …)`, `published("…")`,
    `points`, `percent`. Only calls, attributes, constants and arithmetic are evaluated.

    Raises
    ------
    ValueError
        For a wrong expression; the text names it, and what is allowed.

    Examples
    --------
    >>> compute("percent(0.5)")
    '50 %'
    """
    try:
        value = _value(ast.parse(expression, mode="eval").body)
    except (SyntaxError, TypeError, AttributeError, KeyError, ValueError) as error:
        raise ValueError(f"{expression!r}: {error}") from error
    return value if isinstance(value, str) else f"{value:g}"


def _value(node: ast.expr) -> object:
    """The value of a parsed expression, by the few kinds of node that a comment may hold."""
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return ALLOWED[known("name", node.id, ALLOWED)]
        case ast.Attribute() if not node.attr.startswith("_"):
            return getattr(_value(node.value), node.attr)
        case ast.Call():
            named = {word.arg: _value(word.value) for word in node.keywords}
            return _value(node.func)(*map(_value, node.args), **named)
        case ast.UnaryOp(op=ast.USub()):
            return -_value(node.operand)
        case ast.BinOp(op=ast.Sub()) if all(
            "level(" in ast.unparse(side) for side in (node.left, node.right)
        ):
            raise ValueError("a difference is a comparison: declare it in data/claims.yaml, use finding()")
        case ast.BinOp() if type(node.op) in ARITHMETIC:
            return ARITHMETIC[type(node.op)](_value(node.left), _value(node.right))
    allowed = "calls, public attributes, constants, arithmetic"
    raise ValueError(f"{ast.unparse(node)!r} is not allowed; allowed: {allowed}")


def found(text: str) -> Iterator[Number]:
    """The numbers of a text that have a comment, in order; settings (`<!--= given -->`) are left out.

    The number is the bold text right before the comment, or else the text there that has the computed one's
    shape.

    Raises
    ------
    ValueError
        Where nothing of that shape stands before the comment.
    """
    for comment in COMMENT.finditer(text):
        if comment[1] == GIVEN:
            continue
        before, computed = text[: comment.start()], compute(comment[1])
        shape = NUMBER.join(map(re.escape, re.split(NUMBER, computed)))  # the same words around any numbers
        if not (match := BOLD.search(before) or re.search(f"({shape})$", before)):
            raise ValueError(f"before <!--= {comment[1]} --> stands {before[-30:]!r}, expected {computed!r}")
        yield Number(match[1], comment[1], computed, match.start(1))


def rewritten(text: str) -> str:
    """The text with every commented number as computed now."""
    for number in reversed(list(found(text))):
        end = number.start + len(number.printed)
        text = text[: number.start] + number.computed + text[end:]
    return text


def faults(path: Path) -> list[str]:
    """Numbers of a notebook or Markdown file that differ from their comment."""
    lines = []
    for index, cell in enumerate(_read(path).cells):
        if cell.cell_type != "markdown":
            continue
        try:
            stale = [number for number in found(cell.source) if number.printed != number.computed]
            said = [f"{n.printed!r} should be {n.computed!r} ({n.expression})" for n in stale]
        except ValueError as error:
            said = [str(error)]
        lines += [f"{path.name}, cell {index}: {fault}" for fault in said]
    return lines


def write(path: Path) -> int:
    """Update the numbers of a file in place; how many texts changed. Raises ValueError as `found` does."""
    notebook, changed = _read(path), 0
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (new := rewritten(cell.source)) != cell.source:
            cell.source, changed = new, changed + 1
    if changed and path.suffix == ".ipynb":
        nbformat.write(notebook, path)
    elif changed:
        path.write_text(notebook.cells[0].source, encoding="utf-8")
    return changed


def _read(path: Path) -> nbformat.NotebookNode:
    """A notebook; a Markdown file is read as one of a single cell."""
    if path.suffix == ".ipynb":
        return nbformat.read(path, as_version=4)
    return new_notebook(cells=[new_markdown_cell(path.read_text(encoding="utf-8"))])
