"""METHODS: one row a method. It is the registry, and joined with the literature data the survey's own table."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import pandas as pd
from torch import Tensor, nn

from survey_lib.chain.coupling import ChannelGroup
from survey_lib.chain.evidence.base import COSTS
from survey_lib.chain.patterns import parse
from survey_lib.chain.selection import SCOPES
from survey_lib.lookup import known
from survey_lib.methods.channel import reconstruction, training
from survey_lib.methods.channel import scores as channel
from survey_lib.methods.depth_and_heads import scores as blocks
from survey_lib.methods.filter import scores as filters
from survey_lib.methods.pattern import scores as pattern
from survey_lib.methods.weight import scores as weight
from survey_lib.methods.weight import solve, sparse_training
from survey_lib.methods.weight import training as rules
from survey_lib.repository import LITERATURE

OWN = ("during", "solve", "search", "allocate", "permute")  # what a method adds; if none of these, its score
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


def _row(kind: tuple[str, str, str, str], name: str, score=None, **more: object) -> Method:
    """A row of a kind; what is not said of the method, and its paper, is the first sentence of its docstring."""
    own = next((more[part] for part in OWN if part in more), score)
    first = (inspect.getdoc(own) or "").partition("\n")[0]
    sentence, paper = re.match(r"(.*?)(?: \((\w+)\))?\.?$", first).groups("")
    *place, notebook = kind
    said = {"one_line": f"{sentence}.", "paper": paper, "notebook": notebook}
    return Method(name, *place, score, **said | more)


# category, unit, when it acts, and the notebook that teaches it
_weight = partial(_row, ("weight", "weight", "after", "02_weight_pruning"))
_saliency = partial(_row, ("weight", "weight", "after", "03_saliency"))
_language = partial(_row, ("weight", "weight", "after", "13_language_models"))
_before = partial(_row, ("weight", "weight", "before", "04_before_training"))
_during = partial(_row, ("weight", "weight", "during", "06_during_training"))
_nm = partial(_row, ("pattern", "n:m", "after", "10_between"))
_filter = partial(_row, ("filter", "filter", "after", "07_filter_pruning"))
_filter_during = partial(_row, ("filter", "filter", "during", "07_filter_pruning"))
_channel = partial(_row, ("channel", "channel", "after", "08_channel_pruning"))
_channel_during = partial(_row, ("channel", "channel", "during", "08_channel_pruning"))
_depth = partial(_row, ("depth", "layer", "after", "11_depth_and_heads"))
_head_channels = partial(_row, ("head", "channel", "after", "14_structure_and_recovery"))

ROWS = (
    # single weights
    _row(("weight", "weight", "any", "02_weight_pruning"), "random", weight.random),
    _weight("magnitude", weight.magnitude),
    _row(
        ("weight", "weight", "after", "05_lottery_tickets"),
        "imp",
        scope="global",
        rounds=0,
        ranking="magnitude",
        one_line="The smallest 20 % of what is left each round, then rewind the rest: lottery tickets.",
        paper="frankle2019lottery",
    ),
    _weight("lamp", weight.lamp, scope="global"),
    _saliency("taylor-weight", weight.taylor, needs=("grad_sq",), scope="global"),
    _saliency("obd", weight.obd, needs=("example_grad_sq",), scope="global"),
    _saliency("obs", needs=("gram",), solve=solve.obs),
    _saliency(
        "woodfisher", solve.woodfisher, needs=("fisher",), scope="global", repair=solve.woodfisher_update
    ),
    _language("wanda", weight.wanda, needs=("act_norm",), scope="row"),
    _language("owl", weight.wanda, needs=("act_norm",), scope="row", allocate=weight.owl),
    _language("ria", weight.ria, needs=("act_norm",)),
    _language("sparsegpt", needs=("gram",), solve=solve.sparsegpt),
    _before("snip", weight.snip, needs=("grad",), scope="global"),
    _before("iter-snip", weight.iter_snip, needs=("grad",), scope="global", rounds=60),
    _before("force", weight.force, needs=("grad",), scope="global", rounds=60, revive=True),
    _before("grasp", weight.grasp, needs=("hess_grad",), scope="global"),
    _before("synflow", weight.synflow, needs=("flow",), scope="global", rounds=100),
    _during("gradual", during=rules.Gradual, version=2),
    _during("movement", during=rules.Movement),
    _during("set", scope="erk", during=sparse_training.Set),
    _during("rigl", scope="erk", during=sparse_training.RigL, version=2),
    _during("srigl", scope="erk", during=sparse_training.SRigL),
    _during("l0", scope="global", during=rules.L0),
    _during("str", scope="global", during=rules.SoftThreshold),
    _during("acdc", scope="global", during=rules.Alternating),
    # units between a weight and a filter
    _nm("nm-magnitude", pattern.nm_magnitude, pattern="2:4"),
    _nm("nm-permuted", pattern.nm_magnitude, pattern="2:4", permute=pattern.channel_permutation),
    _row(("pattern", "n:m", "during", "10_between"), "nm-srste", pattern="2:4", during=rules.SparseRefined),
    _row(("pattern", "block", "after", "10_between"), "block", pattern.block, pattern="1x4"),
    _row(("pattern", "kernel", "after", "10_between"), "kernel", pattern.kernel),
    _row(("pattern", "vector", "after", "10_between"), "vector", pattern.vector),
    # filters
    _row(("filter", "filter", "any", "07_filter_pruning"), "random-filter", filters.random_filter),
    _filter("l1-filter", filters.l1_filter),
    _filter("l2-filter", filters.l2_filter),
    _filter_during("sfp", during=training.SoftFilters, ranking="l2-filter", version=2),
    _filter("fpgm", filters.fpgm),
    _filter("hrank", filters.hrank, needs=("act_out",), version=2),
    _filter("apoz", filters.apoz, needs=("act_out",), version=2),
    _filter(
        "taylor-activation",
        filters.taylor_activation,
        needs=("act_out", "act_grad"),
        scope="global",
        version=2,
    ),
    _filter("taylor-filter", filters.taylor_filter, needs=("filter_saliency",), scope="global"),
    _filter("obd-filter", filters.obd_filter, needs=("example_grad_sq",), scope="global"),
    _filter("chip", filters.chip, needs=("act_out",), version=2),
    _filter_during(
        "greg", during=training.GrowingRegularisation, ranking="l1-filter", pretrained=True, version=2
    ),
    # coupled channels
    _channel_during(
        "slimming", channel.slimming, needs=("gamma",), scope="global", during=training.Slimming, version=2
    ),
    _channel_during("group-lasso", scope="global", during=training.GroupLasso, ranking="group-norm"),
    _channel("thinet", needs=("consumers",), solve=reconstruction.thinet, version=3),
    _channel("lasso", needs=("consumers",), solve=reconstruction.lasso, version=2),
    _channel("group-norm", channel.group_norm, needs=("energy",), scope="global"),
    _channel_during(
        "depgraph", scope="global", during=training.GroupSparsity, ranking="group-norm", pretrained=True
    ),
    _channel(
        "isomorphic",
        channel.group_norm,
        needs=("energy",),
        scope="isomorphic",
        one_line="Rank coupled channels only against those of groups made of the same kinds of layers.",
        paper="fang2024isomorphic",
    ),
    _channel("eagleeye", filters.l1_filter, search=channel.eagleeye, version=2),
    # blocks, heads and feed-forward channels
    _depth("block-influence", blocks.block_influence, needs=("act_in", "act_out")),
    _depth("angular-distance", needs=("act_in", "act_out"), solve=blocks.angular_distance),
    _row(
        ("head", "head", "after", "11_depth_and_heads"),
        "head-gradient",
        blocks.head_gradient,
        needs=("gate_grad",),
        scope="global",
        groups=blocks.is_heads,
    ),
    _row(
        ("head", "channel", "after", "11_depth_and_heads"),
        "ffn-channel",
        blocks.ffn_channel,
        needs=("slices", "slices_grad"),
        groups=blocks.is_hidden,
    ),
    _head_channels(
        "llm-pruner",
        blocks.ffn_channel,
        needs=("slices", "slices_grad"),
        groups=blocks.is_coupled,
        one_line="Remove heads and hidden channels with all that is coupled to them, where the loss feels it least.",
    ),
    _head_channels(
        "flap",
        blocks.flap,
        needs=("consumers",),
        scope="global",
        repair=blocks.flap_bias,
        groups=blocks.is_coupled,
    ),
    _head_channels("minitron", blocks.minitron, needs=("consumers",)),
)
METHODS = {row.name: row for row in ROWS}


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
            share = f"{method.name} {method.pattern} removes exactly {1 - kept / group:g} of the weights"
            other = f"name another pattern, such as {method.name}:1:4 for 0.75"
            raise ValueError(f"{share}, got sparsity {sparsity:g}; {other}")


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
