"""METHODS: one row a method. It is the registry, and joined with the literature data the survey's own table."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import pandas as pd
from torch import Tensor, nn

from survey_lib.chain.coupling import ChannelGroup
from survey_lib.chain.evidence.base import COSTS
from survey_lib.chain.patterns import parse
from survey_lib.chain.selection import SCOPES
from survey_lib.lookup import known
from survey_lib.methods import solve
from survey_lib.methods.channel import reconstruction
from survey_lib.methods.channel import scores as channel
from survey_lib.methods.channel import training as channel_rules
from survey_lib.methods.depth_and_heads import depth, transformer
from survey_lib.methods.filter import scores as filters
from survey_lib.methods.pattern import scores as pattern
from survey_lib.methods.weight import gates
from survey_lib.methods.weight import scores as weight
from survey_lib.methods.weight import sparse_training as sparse_rules
from survey_lib.methods.weight import training as weight_rules
from survey_lib.repository import LITERATURE

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
    version : int
        Is part of every run's key; raise it when the method's result changes.
    """

    name: str
    category: str
    unit: str
    when: str
    score: Callable[..., Tensor] | None
    one_line: str
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


OWN = ("during", "solve", "search", "allocate", "permute")  # what a method adds; if none of these, its score


def _rows(category: str, unit: str, when: str) -> Callable[..., Method]:
    """What writes a row that begins with these three: from name, score and further fields."""

    def row(name: str, score: Callable[..., Tensor] | None = None, **more: object) -> Method:
        own = next((more[part] for part in OWN if part in more), score)
        return Method(name, category, unit, when, score, **_said(own) | more)

    return row


def _said(own: object) -> dict[str, str]:
    """What the first sentence of a docstring says, and the paper whose key stands in brackets at its end."""
    first = (inspect.getdoc(own) or "").partition("\n")[0]
    sentence, paper = re.match(r"(.*?)(?: \((\w+)\))?\.?$", first).groups("")
    return {"one_line": f"{sentence}.", "paper": paper}


_weight_after = _rows("weight", "weight", "after")
_weight_before = _rows("weight", "weight", "before")
_weight_during = _rows("weight", "weight", "during")
_nm_after = _rows("pattern", "n:m", "after")
_filter_after = _rows("filter", "filter", "after")
_filter_during = _rows("filter", "filter", "during")
_channel_during = _rows("channel", "channel", "during")
_channel_after = _rows("channel", "channel", "after")
_depth_after = _rows("depth", "layer", "after")
_head_channels = _rows("head", "channel", "after")

ROWS: tuple[Method, ...] = (
    # weight
    _rows("weight", "weight", "any")("random", weight.random),
    _weight_after("magnitude", weight.magnitude),
    _weight_after(
        "imp",
        one_line="The smallest 20 % of what is left each round, then rewind the rest: lottery tickets.",
        paper="frankle2019lottery",
        scope="global",
        rounds=0,
        ranking="magnitude",
    ),
    _weight_after("lamp", weight.lamp, scope="global"),
    _weight_after("taylor-weight", weight.taylor, needs=("grad_sq",), scope="global"),
    _weight_after("obd", weight.obd, needs=("example_grad_sq",), scope="global"),
    _weight_after("obs", needs=("gram",), solve=solve.obs),
    _weight_after(
        "woodfisher", solve.woodfisher, needs=("fisher",), scope="global", repair=solve.woodfisher_update
    ),
    _weight_after("wanda", weight.wanda, needs=("act_norm",), scope="row"),
    _weight_after("owl", weight.wanda, needs=("act_norm",), scope="row", allocate=weight.owl),
    _weight_after("ria", weight.ria, needs=("act_norm",)),
    _weight_after("sparsegpt", needs=("gram",), solve=solve.sparsegpt),
    _weight_before("snip", weight.snip, needs=("grad",), scope="global"),
    _weight_before(
        "iter-snip",
        weight.force,
        one_line="SNIP again and again on what is left; what is removed stays removed.",
        paper="dejorge2021progressive",
        needs=("grad",),
        scope="global",
        rounds=60,
    ),
    _weight_before("force", weight.force, needs=("grad",), scope="global", rounds=60, revive=True),
    _weight_before("grasp", weight.grasp, needs=("hess_grad",), scope="global"),
    _weight_before("synflow", weight.synflow, needs=("flow",), scope="global", rounds=100),
    _weight_during("gradual", during=weight_rules.Gradual, version=2),
    _weight_during("movement", during=weight_rules.Movement),
    _weight_during("set", scope="erk", during=sparse_rules.Set),
    _weight_during("rigl", scope="erk", during=sparse_rules.RigL, version=2),
    _weight_during("srigl", scope="erk", during=sparse_rules.SRigL),
    _weight_during("l0", scope="global", during=gates.L0),
    _weight_during("str", scope="global", during=weight_rules.SoftThreshold),
    _weight_during("acdc", scope="global", during=weight_rules.Alternating),
    # pattern
    _nm_after("nm-magnitude", pattern.nm_magnitude, pattern="2:4"),
    _nm_after("nm-permuted", pattern.nm_magnitude, pattern="2:4", permute=pattern.channel_permutation),
    _rows("pattern", "n:m", "during")("nm-srste", pattern="2:4", during=weight_rules.SparseRefined),
    _rows("pattern", "block", "after")("block", pattern.block, pattern="1x4"),
    _rows("pattern", "kernel", "after")("kernel", pattern.kernel),
    _rows("pattern", "vector", "after")("vector", pattern.vector),
    # filter
    _rows("filter", "filter", "any")("random-filter", filters.random_filter),
    _filter_after("l1-filter", filters.l1_filter),
    _filter_after("l2-filter", filters.l2_filter),
    _filter_during("sfp", during=channel_rules.SoftFilters, ranking="l2-filter", version=2),
    _filter_after("fpgm", filters.fpgm),
    _filter_after("hrank", filters.hrank, needs=("act_out",), version=2),
    _filter_after("apoz", filters.apoz, needs=("act_out",), version=2),
    _filter_after(
        "taylor-activation",
        filters.taylor_activation,
        needs=("act_out", "act_grad"),
        scope="global",
        version=2,
    ),
    _filter_after("taylor-filter", filters.taylor_filter, needs=("filter_saliency",), scope="global"),
    _filter_after("obd-filter", filters.obd_filter, needs=("example_grad_sq",), scope="global"),
    _filter_after("chip", filters.chip, needs=("act_out",), version=2),
    _filter_during(
        "greg", during=channel_rules.GrowingRegularisation, ranking="l1-filter", pretrained=True, version=2
    ),
    # channel
    _channel_during(
        "slimming",
        channel.slimming,
        needs=("gamma",),
        scope="global",
        during=channel_rules.Slimming,
        version=2,
    ),
    _channel_during("group-lasso", scope="global", during=channel_rules.GroupLasso, ranking="group-norm"),
    _channel_after("thinet", needs=("consumers",), solve=reconstruction.thinet, version=3),
    _channel_after("lasso", needs=("consumers",), solve=reconstruction.lasso, version=2),
    _channel_after("group-norm", channel.group_norm, needs=("energy",), scope="global"),
    _channel_during(
        "depgraph", scope="global", during=channel_rules.GroupSparsity, ranking="group-norm", pretrained=True
    ),
    _channel_after(
        "isomorphic",
        channel.group_norm,
        one_line="Rank coupled channels only against those of groups made of the same kinds of layers.",
        paper="fang2024isomorphic",
        needs=("energy",),
        scope="isomorphic",
    ),
    _channel_after("eagleeye", filters.l1_filter, search=channel.eagleeye, version=2),
    # depth and heads
    _depth_after("block-influence", depth.block_influence, needs=("act_in", "act_out")),
    _depth_after("angular-distance", needs=("act_in", "act_out"), solve=depth.angular_distance),
    _rows("head", "head", "after")(
        "head-gradient",
        transformer.head_gradient,
        needs=("gate_grad",),
        scope="global",
        groups=transformer.is_heads,
    ),
    _head_channels(
        "ffn-channel", transformer.ffn_channel, needs=("slices", "slices_grad"), groups=transformer.is_hidden
    ),
    _head_channels(
        "llm-pruner",
        transformer.ffn_channel,
        one_line="Remove heads and hidden channels with all that is coupled to them, where the loss feels it least.",
        paper="ma2023llmpruner",
        needs=("slices", "slices_grad"),
        groups=transformer.is_coupled,
    ),
    _head_channels(
        "flap",
        transformer.flap,
        needs=("consumers",),
        scope="global",
        repair=transformer.flap_bias,
        groups=transformer.is_coupled,
    ),
    _head_channels("minitron", transformer.minitron, needs=("consumers",)),
)

METHODS: dict[str, Method] = {row.name: row for row in ROWS}


def find(name: str) -> Method:
    """The method of this name; `nm-magnitude:4:8` or `block:1x4` chooses the pattern.

    Any weight score may be ranked in N:M groups: `wanda:2:4`, `sparsegpt:4:8`.

    Raises
    ------
    ValueError
        For an unknown name; the text lists near matches.
    """
    if not isinstance(name, str):
        raise ValueError(
            f"method must be a name in survey_lib.METHODS, such as {getattr(name, 'name', 'l1-filter')!r}; "
            f"got {type(name).__name__}"
        )
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


# A notebook, and the methods, categories or times of pruning that it teaches
CHAPTERS = {
    "03_saliency": ("taylor-weight", "obd", "obs", "woodfisher"),
    "04_before_training": ("before",),
    "05_lottery_tickets": ("imp",),
    "06_during_training": ("during",),
    "07_filter_pruning": ("filter",),
    "08_channel_pruning": ("channel",),
    "10_between": ("pattern",),
    "11_depth_and_heads": ("depth", "head"),
    "13_language_models": ("wanda", "owl", "ria", "sparsegpt"),
    "14_structure_and_recovery": ("llm-pruner", "flap", "minitron"),
}


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


def chapter(method: Method) -> str:
    """The notebook that teaches a method."""
    taught = {name: notebook for notebook, names in CHAPTERS.items() for name in names}
    own = (method.name, method.category, method.when)
    return next((taught[name] for name in own if name in taught), "02_weight_pruning")


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
            "notebook": chapter(m),
        }
        for m in METHODS.values()
    ]
    papers = pd.read_csv(LITERATURE / "papers.csv", usecols=["key", "criterion", "title", "year"])
    joined = pd.DataFrame(rows).merge(papers, "left", "key").astype({"year": "Int64"})
    return joined.rename(columns={"key": "paper"}).set_index("method")
