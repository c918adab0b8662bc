"""One colour and one marker for every method, the same in all figures of the course."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C510A")
HATCHES = ("", "///", "...", "xxx", "---", "\\\\", "+++")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
GREY, PALE, DENSE = "#999999", "#DDDDDD", "#222222"
RANDOM_MARKERS = "x+*1234"
# Within seven names of each other the colours differ; further apart two methods may share one, and the marker differs.
ORDER = (
    "magnitude l1-filter snip group-norm nm-magnitude taylor-filter rigl "
    "lamp fpgm synflow slimming obs hrank set "
    "grasp obd imp gradual wanda sparsegpt ria "
    "thinet apoz l2-filter taylor-weight lasso depgraph isomorphic "
    "woodfisher owl iter-snip force movement srigl l0 "
    "str acdc nm-permuted nm-srste block kernel vector "
    "sfp taylor-activation obd-filter chip greg group-lasso eagleeye "
    "block-influence angular-distance head-gradient ffn-channel llm-pruner flap "
    "minitron"
).split()


def looks(methods: Iterable[str]) -> dict[str, dict]:
    """Colour and marker of each method: fixed by its name, grey for random, and no two share both.

    A variant ("snip shuffled", "nm-magnitude:2:4") has the colour of its method and, beside it, another marker.

    >>> looks(["fpgm", "random"])["random"]["color"]
    '#999999'
    """
    styles: dict[str, dict] = {}
    for name in sorted(methods, key=lambda name: (name not in ORDER, name)):
        colour, marker = _home(name)
        markers = RANDOM_MARKERS if colour == GREY else MARKERS
        while (style := {"color": colour, "marker": markers[marker % len(markers)]}) in styles.values():
            marker += 1
            if marker > 2 * len(markers):  # more variants of one method than there are markers
                colour, marker = PALETTE[(PALETTE.index(colour) + 1) % len(PALETTE)], 0
        styles[name] = style
    return {name: styles[name] for name in sorted(styles)}


def _home(name: str) -> tuple[str, int]:
    """Colour and index of the marker that belong to a method; any other name has one computed from its letters."""
    base = name.split(":")[0].split(" ")[0].strip(",")
    if base.startswith("random"):
        return GREY, 0
    index = ORDER.index(base) if base in ORDER else zlib.crc32(base.encode())
    return PALETTE[index % len(PALETTE)], index % len(MARKERS)
