"""prune(model, method, sparsity): the chain on anyone's model.

    evidence -> score -> select -> mask -> cut
"""

from __future__ import annotations

import copy
import difflib
import fnmatch
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from survey_lib import structured
from survey_lib.catalogue import Method, check_pattern, find
from survey_lib.chain import blocks, evidence, surgery
from survey_lib.chain import during as training
from survey_lib.chain.coupling import ChannelGroup, Coupling, group_masks, trace
from survey_lib.chain.masks import Masks, apply, masked_copy, overall_sparsity, prunable, unwrap
from survey_lib.chain.patterns import misfit, n_of_m, parse, pool, spread
from survey_lib.chain.selection import check_finite, check_sparsity, round_sparsities, select

TOLERANCE = 0.02  # realised sparsity further than this from the request is warned about (case B10)


@dataclass(frozen=True)
class PruneResult:
    """What `prune` did.

    model     a new model; the argument of `prune` is untouched
    masks     {tensor name of the dense model: bool}, True = kept
    plan      the cut as JSON (None for masked models); `survey_lib.load` replays it
    report    one row a layer: layer, unit, total, kept, group, requested, sparsity; layers of one group share their
              units, so count a group once
    sparsity  realised fraction of units removed
    skipped   (layer, reason) for what was left whole
    """

    model: nn.Module
    masks: Masks
    plan: dict | None
    report: pd.DataFrame
    sparsity: float
    skipped: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Request:
    """The caller's wishes, checked, as the steps below read them."""

    method: Method
    sparsity: float
    example: object
    batches: Iterable | None
    loss: Callable | None
    scope: str
    layers: Sequence[str] | None
    protect: Sequence[str]
    cut: bool
    masks: Masks
    seed: int


def prune(
    model: nn.Module,
    method: str,
    sparsity: float,
    *,
    example=None,
    batches: Iterable | None = None,
    loss: Callable | None = None,
    scope: str | None = None,
    layers: Sequence[str] | None = None,
    protect: Sequence[str] = (),
    cut: bool | None = None,
    masks: Masks | None = None,
    seed: int = 0,
) -> PruneResult:
    """Prune any model by any method of the survey; the model given is never changed.

    sparsity  fraction of the method's units (weights, groups of m, filters, channels, ...) to remove, in [0, 1)
    example   an input (tensor, tuple or dict) to trace; needed by structured methods and by synflow
    batches   (input, target) pairs, for methods that look at data (`survey_lib.METHODS[name].needs`)
    loss      callable(output, target); cross-entropy if left out
    scope     layerwise, global or erk; the paper's own if left out
    layers    module names or patterns (`layer1.*`) to prune; all prunable ones if left out
    protect   module names or patterns whose own weights and outputs stay whole, with all that is coupled to them
    cut       structured methods cut by default and check masked equals cut; False gives the masked model
    masks     masks of an earlier round; what they remove stays removed and counts towards `sparsity`

    Raises ValueError, before any work, for an unknown method or scope, a sparsity outside [0, 1), a layer
    that matches nothing, weights that are not finite, or missing data.

    >>> result = prune(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), "magnitude", 0.5)
    >>> result.sparsity, int(result.masks["0.weight"].sum())
    (0.5, 16)
    """
    chosen = find(method)
    check_sparsity(sparsity)
    check_pattern(chosen, sparsity)
    if chosen.score is None and chosen.solve is None:
        raise ValueError(f"{method} lives in training: use survey_lib.during(model, {method!r}, ...)")
    cuttable = chosen.structure == "structured"
    if cut and not cuttable:
        raise ValueError(f"{method} removes single weights, which cannot be cut out; leave cut=None for a masked model")
    request = Request(chosen, float(sparsity), example, batches if batches is None else list(batches), loss,
                      scope or chosen.scope, layers, protect, cuttable if cut is None else cut, masks or {},
                      seed)  # fmt: skip
    bare = unwrap(model)
    check_finite({name: p for name, p in bare.named_parameters() if p.is_floating_point()})
    if cuttable and example is None:
        raise ValueError(f"{method} cuts the network and must run it to see how: give example=an input")
    step = _prune_blocks if chosen.unit == "layer" else _prune_channels if cuttable else _prune_weights
    result = step(bare, request)
    _warn(result, request)
    return result


def during(
    model: nn.Module, method: str, sparsity: float, optimizer: torch.optim.Optimizer, steps: int, *, example=None, seed: int = 0
) -> training.Session:
    """Run a method that lives in training inside anyone's own loop, through the optimizer's own hooks.

    `steps` optimizer steps are expected. Afterwards `.finish()` takes the hooks away and returns the masks.
    Unlike `prune` this changes `model`, the one that the optimizer trains.

    >>> layer = nn.Linear(4, 4); optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> session = during(nn.Sequential(layer), "gradual", 0.5, optimizer, steps=1)
    >>> layer(torch.ones(1, 4)).sum().backward(); optimizer.step(); int(session.finish()["0.weight"].sum())
    8
    """
    return training.start(model, find(method), sparsity, optimizer, steps, example=example, seed=seed)


def choose(names: Sequence[str], patterns: Sequence[str] | None) -> list[str]:
    """The names that match any pattern; a pattern that matches none is a ValueError with near matches (B40)."""
    if patterns is None:
        return list(names)
    found: set[str] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        bare = pattern.removeprefix("module.").removeprefix("_orig_mod.")
        hits = fnmatch.filter(names, bare) + [n for n in names if n.startswith(bare + ".")]
        if not hits:
            near = difflib.get_close_matches(bare, names, 5, 0.4) or list(names)[:8]
            raise ValueError(f"{pattern!r} matches no prunable layer; near: {', '.join(near)}")
        found |= set(hits)
    return [name for name in names if name in found]


def _layer(parameter: str) -> str:
    return parameter.rpartition(".")[0]


def _prune_weights(model: nn.Module, request: Request) -> PruneResult:
    method, names = request.method, list(prunable(model))
    owners = list(dict.fromkeys(map(_layer, names)))
    wanted = set(choose(owners, request.layers)) - set(choose(owners, request.protect or []))
    skipped = [(layer, "not among the layers asked for, or protected") for layer in owners if layer not in wanted]
    names = [name for name in names if _layer(name) in wanted]
    pruned = apply(copy.deepcopy(model), request.masks)
    if method.unit != "weight":
        shapes = {name: parameter.shape for name, parameter in prunable(model).items() if name in names}
        reasons = {name: misfit(shape, method.unit, method.pattern) for name, shape in shapes.items()}
        skipped += [(_layer(name), reason) for name, reason in reasons.items() if reason]
        names = [name for name in names if not reasons[name]]
    if not names:
        raise ValueError(f"{method.name} finds no layer to prune: " + "; ".join(f"{n}: {r}" for n, r in skipped))
    masks = dict(request.masks)
    for sparsity in round_sparsities(method.schedule, request.sparsity, method.rounds):
        found = evidence.collect(pruned, names, method.needs, request.batches, request.loss, request.seed,
                                 example=request.example, batch_statistics=method.when == "before")  # fmt: skip
        masks |= _weight_masks(pruned, found, sparsity, request, masks)
        apply(pruned, masks)
    rows = [(name.removesuffix(".weight"), masks[name].numel(), int(masks[name].sum()), name) for name in names]
    return PruneResult(pruned, masks, None, _report(rows, request), overall_sparsity(masks), skipped)


@torch.no_grad()
def _weight_masks(model, found, sparsity: float, request: Request, previous: Masks) -> Masks:
    """Masks of one round; `solve` methods also write the repaired weights into `model`."""
    method = request.method
    fractions = method.allocate(found, sparsity) if method.allocate else None
    if method.solve:
        weights = dict(model.named_parameters())
        masks = {}
        for name, seen in found.items():
            share = fractions[name] if fractions else sparsity
            masks[name], repaired = method.solve(seen, share, method.pattern)
            weights[name].copy_(repaired)
        return masks
    scores = {name: _below(method.score(seen), previous.get(name)) for name, seen in found.items()}
    if method.unit == "n:m":
        check_finite(scores)
        return {name: n_of_m(score, *parse(method.pattern)) for name, score in scores.items()}
    units = {name: pool(score, method.unit, method.pattern) for name, score in scores.items()}
    keep = select(units, sparsity, request.scope, fractions=fractions)
    return {n: spread(keep[n], scores[n].shape, method.unit, method.pattern) for n in scores}


def _below(score: Tensor, previous: Tensor | None) -> Tensor:
    """Scores with what an earlier round removed ranked below all else."""
    if previous is None or bool(previous.all()):
        return score
    return torch.where(previous, score, score.min() - score.abs().max() - 1)


def _prune_channels(model: nn.Module, request: Request) -> PruneResult:
    coupling = trace(model, request.example)
    groups, skipped = _chosen_groups(coupling, request)
    repaired, keep = structured.choose_channels(
        model, coupling, groups, request.method, request.sparsity, request.scope,
        batches=request.batches, loss=request.loss, seed=request.seed,
    )  # fmt: skip
    done, plan = None, None
    if request.cut:
        done = surgery.cut(repaired, coupling, keep, request.example)
        plan, skipped = done.plan, skipped + done.refused
        keep = {name: done.keep.get(name, torch.ones_like(mask)) for name, mask in keep.items()}
    masks = group_masks(model, coupling, keep)
    pruned = done.model if done else masked_copy(repaired, masks)
    rows = [(layer, group.size, int(keep[group.name].sum()), group.name) for group in groups for layer in group.producers]
    return PruneResult(pruned, masks, plan, _report(rows, request), overall_sparsity(keep), skipped)


def _chosen_groups(coupling: Coupling, request: Request) -> tuple[list[ChannelGroup], list[tuple[str, str]]]:
    """The groups to prune: those the method is about, with a wanted producer and no protected one (case B41)."""
    of_method = request.method.groups or (lambda group: True)
    known = list(dict.fromkeys([n for group in coupling.groups for n in group.producers] + list(coupling.fixed)))
    wanted, barred = set(choose(known, request.layers)), set(choose(known, request.protect or []))
    groups, skipped = [], list(coupling.fixed.items())
    for group in coupling.groups:
        if not of_method(group):
            skipped.append((group.name, f"not what {request.method.name} prunes"))
        elif wanted.isdisjoint(group.producers):
            skipped.append((group.name, "not among the layers asked for"))
        elif not barred.isdisjoint(group.producers):
            skipped.append((group.name, f"protected, with {', '.join(barred & set(group.producers))}"))
        else:
            groups.append(group)
    names = {group.name for group in groups}
    tied = {n: ties for ties in coupling.counts if not names.issuperset(ties) for n in names.intersection(ties)}
    skipped += [(name, f"tied by count to {', '.join(set(ties) - {name})}") for name, ties in tied.items()]
    if names <= tied.keys():
        raise ValueError("no channel can be cut: " + "; ".join(f"{name}: {why}" for name, why in skipped))
    return [group for group in groups if group.name not in tied], skipped


def _prune_blocks(model: nn.Module, request: Request) -> PruneResult:
    found = blocks.blocks(model, request.example)
    if not found:
        raise ValueError(f"{request.method.name} leaves out residual blocks, and this model has none")
    names = [n for n in choose(found, request.layers) if n not in choose(found, request.protect or [])]
    skipped = [(name, "not among the layers asked for, or protected") for name in found if name not in names]
    keep = structured.choose_blocks(model, names, request.method, request.sparsity, request.batches)
    gone = [name for name, kept in keep.items() if not kept]
    masks = blocks.block_masks(model, gone)
    pruned = blocks.remove(model, gone) if request.cut else masked_copy(model, masks)
    plan = surgery.block_plan(model, gone) if request.cut else None
    report = _report([(name, 1, int(kept), name) for name, kept in keep.items()], request)
    return PruneResult(pruned, masks, plan, report, overall_sparsity(keep), skipped)


def _report(rows: list[tuple[str, int, int, str]], request: Request) -> pd.DataFrame:
    report = pd.DataFrame(rows, columns=["layer", "total", "kept", "group"])
    report.insert(1, "unit", request.method.unit)
    return report.assign(requested=request.sparsity, sparsity=1 - report["kept"] / report["total"])


def _warn(result: PruneResult, request: Request) -> None:
    if abs(result.sparsity - request.sparsity) > TOLERANCE:
        warnings.warn(f"asked for sparsity {request.sparsity:.3f}, realised {result.sparsity:.3f} (see report)", stacklevel=3)
    empty = list(result.report.loc[result.report["kept"] == 0, "layer"])
    if empty:
        warnings.warn(f"layer collapse: nothing is left of {', '.join(empty)}; the network is cut off there", stacklevel=3)


def save(result: PruneResult, path: str | Path) -> Path:
    """Write a pruned model as one safetensors file: weights, masks and plan; nothing is pickled (B57).

    >>> import tempfile; result = prune(nn.Sequential(nn.Linear(2, 2)), "magnitude", 0.5)
    >>> load(save(result, tempfile.mkdtemp() + "/small.safetensors"), nn.Sequential(nn.Linear(2, 2))).sparsity
    0.5
    """
    meta = {"report": result.report.to_dict("split"), "sparsity": result.sparsity, "skipped": result.skipped}
    surgery.save_file(path, result.model, result.plan, None if result.plan else result.masks, meta)
    return Path(path)


def load(path: str | Path, model: nn.Module) -> PruneResult:
    """Rebuild what `save` wrote from a fresh dense model of the same class; `model` is untouched.

    Raises ValueError for a file that is not ours, a newer schema, or a model it was not made from.
    """
    pruned, plan, masks, meta = surgery.load_file(path, unwrap(model))
    if plan:
        masks = surgery.plan_masks(unwrap(model), plan)
    report = pd.DataFrame(meta["report"]["data"], columns=meta["report"]["columns"])
    skipped = [(name, reason) for name, reason in meta["skipped"]]
    return PruneResult(pruned, masks, plan, report, meta["sparsity"], skipped)
