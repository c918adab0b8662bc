"""METHODS: one row a method, read from catalogue.yaml. Joined with the literature data it is the survey's own table."""

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from pkgutil import resolve_name

import pandas as pd
import yaml
from torch import Tensor, nn

from survey_lib.chain.coupling import ChannelGroup
from survey_lib.chain.evidence.base import COSTS
from survey_lib.chain.patterns import parse
from survey_lib.chain.selection import SCOPES
from survey_lib.lookup import known
from survey_lib.repository import LITERATURE

# What a method may add; the first of these that it has is the method itself: its docstring says what it does
PARTS = ("during", "solve", "search", "allocate", "permute", "score", "repair", "groups")
WITHOUT_DATA = COSTS["weights only"] | {"flow"}  # evidence that no training example is looked at for
CHANNEL_SCOPES = ("layerwise", "global", "isomorphic")


@dataclass(frozen=True)
class Method:
    """One method of the survey.

    Attributes
    ----------
    name : str
        As in `survey_lib.METHODS`.
    category : str
        weight, pattern, filter, channel, depth or head.
    unit : str
        weight, n:m, block, kernel, vector (masks) or filter, channel, layer, head (cut out).
    when : str
        before, during or after training.
    score : Callable[..., Tensor] | None
        Evidence -> Tensor, higher means keep.
    one_line : str
        What it does: the first sentence of the docstring, if left out of a row.
    paper : str
        Key of the paper in data/literature/papers.csv: in brackets at the end of that sentence.
    needs : tuple[str, ...]
        The Evidence fields it reads beside `weight`.
    scope : str
        The paper's own; the caller may choose another.
    rounds : int
        Number of rounds: evidence is collected and scored again on the masked model in every one. 0 stands
        for as many as it takes, see `chain.selection.round_sparsities`.
    revive : bool
        Every round scores the original weights, so that what an earlier round removed can return.
    pattern : str
        Pattern of the groups, blocks or vectors.
    allocate : Callable[..., dict[str, float]] | None
        ({name: Evidence}, sparsity) -> {name: sparsity of that layer}, in place of the scope's own.
    solve : Callable | None
        (Evidence, sparsity, pattern) -> (mask, weight), for methods that choose and repair at once; of a
        channel group (Evidence, removed) -> (keep, consumer weights); of blocks ([Evidence], removed) ->
        keep.
    repair : Callable[..., Tensor] | None
        (Evidence, mask) -> weight, for methods that repair a layer once all layers are chosen together;
        of a channel group -> consumer weights, and what their biases gain.
    search : Callable[..., dict[str, float]] | None
        (group sizes, sparsity, judge, seed) -> {group: sparsity}, for methods that try layer ratios.
    permute : Callable[..., Tensor] | None
        (magnitudes, n, m) -> order of the channels, for methods that first reorder the network.
    groups : Callable[[ChannelGroup, nn.Module], bool] | None
        Which channel groups the method is about (heads, hidden channels); all if left out.
    during : Callable | None
        Builder of a training-time session, see `chain.training.during`.
    ranking : str
        The one-shot row that does the ranking of a method that is more than one ranking: it ranks each
        round, or finds what training pushed to zero. `prune` refuses such a method; a run ranks by this
        row.
    pretrained : bool
        A method of training that starts from the trained network, not from new weights.
    notebook : str
        The notebook that teaches it.
    version : int
        Is part of every run's key; raise it when the method's result changes.
    """

    name: str
    category: str
    unit: str
    when: str
    score: Callable[..., Tensor] | None = None
    one_line: str = ""
    paper: str = ""
    needs: tuple[str, ...] = ()
    scope: str = "layerwise"
    rounds: int = 1
    revive: bool = False
    pattern: str = ""
    allocate: Callable[..., dict[str, float]] | None = None
    solve: Callable | None = None
    repair: Callable[..., Tensor] | None = None
    search: Callable[..., dict[str, float]] | None = None
    permute: Callable[..., Tensor] | None = None
    groups: Callable[[ChannelGroup, nn.Module], bool] | None = None
    during: Callable | None = None
    ranking: str = ""
    pretrained: bool = False
    notebook: str = ""
    version: int = 1

    @property
    def schedule(self) -> str:
        """one-shot, or iterative where there are rounds."""
        return "one-shot" if self.rounds == 1 else "iterative"

    @property
    def scopes(self) -> tuple[str, ...]:
        """What `scope` may be: the method's own alone where it does not rank units by one score each."""
        if self.solve or self.search or self.unit in ("n:m", "layer"):
            return (self.scope,)
        return CHANNEL_SCOPES if self.structure == "structured" else SCOPES

    @property
    def looks_at_data(self) -> bool:
        """Whether it must see training examples."""
        return bool(set(self.needs) - WITHOUT_DATA) or self.search is not None

    @property
    def structure(self) -> str:
        """unstructured, semi-structured or structured: what a cut or a sparse kernel can make of it."""
        return {"weight": "unstructured", "pattern": "semi-structured"}.get(self.category, "structured")


def _row(name: str, *, needs: Sequence[str] = (), **fields: object) -> Method:
    """A row of catalogue.yaml, with its functions, and what the docstring says of the method."""
    parts = {part: resolve_name(f"survey_lib.methods.{fields[part]}") for part in PARTS if part in fields}
    first = (inspect.getdoc(next(iter(parts.values()), None)) or "").partition("\n")[0]
    sentence, paper = re.match(r"(.*?)(?: \((\w+)\))?\.?$", first).groups("")
    return Method(name, **{"one_line": f"{sentence}.", "paper": paper} | fields | parts, needs=tuple(needs))


def _read() -> dict[str, Method]:
    rows = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return {name: _row(name, **fields) for name, fields in rows.items()}


METHODS = _read()


def find(name: str) -> Method:
    """The method of this name; `nm-magnitude:4:8` or `block:1x4` chooses the pattern.

    Any weight score may be ranked in N:M groups: `wanda:2:4`, `sparsegpt:4:8`.

    Raises
    ------
    ValueError
        For an unknown name; the text lists near matches.
    """
    if not isinstance(name, str):
        such = getattr(name, "name", "l1-filter")
        raise ValueError(f"method must be a name in METHODS, such as {such!r}; got {type(name).__name__}")
    base, _, chosen = name.partition(":")
    method = METHODS.get(base) or METHODS[known("method", base, METHODS)]
    if not chosen:
        return method
    if not method.pattern and (method.unit != "weight" or method.during):
        raise ValueError(f"{base} takes no pattern; got {name!r}")
    return replace(method, pattern=chosen, unit=method.unit if method.pattern else "n:m")


def check_pattern(method: Method, sparsity: float) -> None:
    """Check that an N:M pattern and the asked sparsity agree; 2:4 removes exactly 0.5.

    Parameters
    ----------
    method : Method
        A row of METHODS.
    sparsity : float
        Fraction to remove.

    Raises
    ------
    ValueError
        Where they contradict each other.

    Examples
    --------
    >>> check_pattern(find("nm-magnitude:1:4"), 0.75)
    """
    if method.unit == "n:m":
        kept, group = parse(method.pattern)
        if abs(sparsity - (1 - kept / group)) > 1e-9:
            raise ValueError(
                f"{method.name} {method.pattern} removes exactly {1 - kept / group:g} of the weights, got sparsity "
                f"{sparsity:g}; name another pattern, such as {method.name}:1:4 for 0.75"
            )


def cost(method: Method) -> str:
    """The most expensive thing a method does before it can choose.

    Examples
    --------
    >>> cost(find("magnitude")), cost(find("taylor-weight"))
    ('weights only', 'forward and backward passes')
    """
    if method.during:
        return "training"
    needs = {*method.needs, *(["act_out"] if method.search else [])}
    return next((name for name, fields in reversed(COSTS.items()) if needs & fields), "weights only")


def table() -> pd.DataFrame:
    """The survey as a table: METHODS joined with the literature data, one row a method.

    Examples
    --------
    >>> sorted(table().query("category == 'head'").index)
    ['ffn-channel', 'flap', 'head-gradient', 'llm-pruner', 'minitron']
    """
    rows = [
        {
            "method": m.name,
            **{field: getattr(m, field) for field in ("category", "unit", "structure", "when", "scope")},
            "needs": " ".join(m.needs) or "nothing",
            "needs data": m.looks_at_data,
            "schedule": m.schedule,
            "cost": cost(m),
            "what it does": m.one_line,
            "key": m.paper,
            "notebook": m.notebook,
        }
        for m in METHODS.values()
    ]
    papers = pd.read_csv(LITERATURE / "papers.csv", usecols=["key", "criterion", "title", "year"])
    joined = pd.DataFrame(rows).merge(papers, "left", "key").astype({"year": "Int64"})
    return joined.rename(columns={"key": "paper"}).set_index("method")
