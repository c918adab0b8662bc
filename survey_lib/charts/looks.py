"""One colour and one marker for every method, the same in all figures of the course."""

import zlib
from collections.abc import Iterable

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C510A")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
GREY, PALE, DENSE = "#999999", "#DDDDDD", "#222222"
RANDOM_MARKERS = "x+*1234"
# The methods of each colour: two methods of one study never share it. Within a row the marker differs.
COLOURS = {
    PALETTE[0]: "magnitude",
    PALETTE[1]: "l1-filter obd owl acdc",
    PALETTE[2]: "snip l2-filter thinet taylor-weight block l0 srigl head-gradient",
    PALETTE[3]: "group-norm gradual nm-srste chip ffn-channel woodfisher force",
    PALETTE[4]: "nm-magnitude obs lasso movement greg grasp",
    PALETTE[5]: "taylor-filter group-lasso lamp kernel set sparsegpt",
    PALETTE[6]: "rigl wanda apoz isomorphic vector",
    "#6A3D9A": "synflow eagleeye obd-filter block-influence str nm-permuted",
    "#808000": "fpgm ria imp depgraph angular-distance",
    "#99000D": "hrank iter-snip flap",
    "#1B2A6B": "slimming sfp llm-pruner",
    "#66A61E": "taylor-activation minitron",
}
HOME = {
    name: (colour, (row + 7 * place) % len(MARKERS))
    for row, (colour, names) in enumerate(COLOURS.items())
    for place, name in enumerate(names.split())
}


def looks(methods: Iterable[str]) -> dict[str, dict]:
    """Colour and marker of each method: fixed by its name, grey for random, and no two share both.

    A variant ("snip shuffled", "nm-magnitude:2:4") has the colour of its method and, beside it, another
    marker.

    Examples
    --------
    >>> looks(["fpgm", "random"])["random"]["color"]
    '#999999'
    """
    styles: dict[str, dict] = {}
    for name in sorted(methods, key=lambda name: (name not in HOME, name)):
        colour, marker = _home(name)
        markers = RANDOM_MARKERS if colour == GREY else MARKERS
        markers = markers[marker:] + markers[:marker]
        free = ({"color": one, "marker": mark} for one in (colour, *COLOURS) for mark in markers)
        styles[name] = next(style for style in free if style not in styles.values())
    return {name: styles[name] for name in sorted(styles)}


def _home(name: str) -> tuple[str, int]:
    """Colour and index of the marker that belong to a method; any other name has one computed from its letters."""
    base = name.split(":")[0].split(" ")[0].strip(",")
    if base.startswith("random"):
        return GREY, 0
    index = zlib.crc32(base.encode())
    return HOME.get(base, (PALETTE[index % len(PALETTE)], index % len(MARKERS)))
