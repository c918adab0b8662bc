"""Coupled channels as text: a line a group, a line a tensor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from survey_lib.chain.coupling.groups import ChannelGroup, Coupling


def group(one: ChannelGroup) -> str:
    """One line a tensor: axis, channels (x positions of each), and what makes the axis part of the group."""
    rows = [(piece.tensor, str(piece.dim), _size(*piece.index.shape), piece.why) for piece in one.slices]
    flags = [f"after a cut: {flag}, the kept ones" for flag in one.flags]
    title = f"group {one.name}, {one.size} channels"
    return "\n".join([title, *_aligned([("tensor", "axis", "channels", "why"), *rows]), *flags])


def coupling(found: Coupling) -> str:
    """One line a group, then what is fixed, tied by count, or was not used by the run."""
    rows = [_row(one) for one in found.groups]
    heads = ("group", "channels", "tensors", "written by", "read by", "over channels")
    return "\n".join(
        [
            f"{len(rows)} channel groups, {sum(one.size for one in found.groups)} channels",
            *(_aligned([heads, *rows]) if rows else ()),
            *(f"fixed: {layer} ({why})" for layer, why in found.fixed.items()),
            *(f"keep the same fraction: {', '.join(names)}" for names in found.counts),
            *(f"unseen: {name}" for name in found.unseen),
        ]
    )


def _row(one: ChannelGroup) -> tuple[str, ...]:
    readers = (piece.tensor.rpartition(".")[0] for piece in one.consumers)
    counts = str(one.size), str(len(one.slices))
    return one.name, *counts, _some(one.producers), _some(readers), _some(one.flags)


def _size(channels: int, positions: int) -> str:
    return f"{channels} x {positions}" if positions > 1 else str(channels)


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _some(names: Iterable[str], shown: int = 2) -> str:
    """The first few names, and how many more there are."""
    names = list(dict.fromkeys(names))
    return ", ".join(names[:shown]) + (f", {len(names) - shown} more" if len(names) > shown else "")
