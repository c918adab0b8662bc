"""prune(model, method, sparsity): the chain on anyone's model.

evidence -> score -> select -> mask -> cut
"""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from survey_lib.catalogue import Method, check_pattern, find
from survey_lib.chain import masks as masking
from survey_lib.chain.coupling import Coupling
from survey_lib.chain.coupling.groups import STATISTICS
from survey_lib.chain.coupling.tracer import labelled
from survey_lib.chain.inputs import (
    arguments,
    check_data,
    check_kind,
    check_seed,
    check_values,
    choose,
    described,
    duplicate,
    untouched,
    unwrap,
    whole,
)
from survey_lib.chain.masks import Masks, check_optimizer, prunable
from survey_lib.chain.selection import check_finite, check_sparsity
from survey_lib.chain.surgery.plan import load_file, save_file
from survey_lib.chain.training.during import Session, check_free
from survey_lib.steps.blocks import prune_blocks
from survey_lib.steps.channels import prune_channels
from survey_lib.steps.request import UNSEEN, Budget, Pruned, Request
from survey_lib.steps.result import PruneResult, some
from survey_lib.steps.weights import prune_weights

TOLERANCE = 0.02  # realised sparsity further than this from the request is warned about (case B10)


def prune(
    model: nn.Module,
    method: str,
    sparsity: float | None = None,
    *,
    macs: float | None = None,
    parameters: float | None = None,
    cost: Callable[[nn.Module], float] | None = None,
    at_most: float | None = None,
    example=None,
    examples: list | None = None,
    batches: Iterable | None = None,
    loss: Callable | None = None,
    scope: str | None = None,
    layers: Sequence[str] | None = None,
    protect: Sequence[str] | None = None,
    cut: bool | None = None,
    masks: Masks | None = None,
    coupling: Coupling | None = None,
    seed: int = 0,
) -> PruneResult:
    """Prune any model by any method of the survey; the model given is never changed.

    Exactly one of `sparsity`, `macs`, `parameters` and `cost` says how much goes. The last three are budgets,
    met by the mildest cut that fits: the network is traced and scored once, the sparsity is found by
    bisection on the predicted cost, and the result is measured. Of masked weights only those that are not
    zero count; dense kernels still multiply the zeros, so their MACs are a bound and no speed.

    Parameters
    ----------
    model : nn.Module
        Any model.
    method : str
        A name in `survey_lib.METHODS`.
    sparsity : float, optional
        Fraction of the method's units (weights, groups of m, filters, channels, ...) to remove, in [0,
        1).
    macs : float, optional
        Share of the dense multiply-adds of one `example` that may stay, in (0, 1].
    parameters : float, optional
        Share of the dense parameters, those that no method prunes included, that may stay, in (0, 1].
    cost : Callable[[nn.Module], float], optional
        cost(pruned model) is a number that falls with sparsity; its limit is `at_most`.
    at_most : float, optional
        The largest value of `cost` that is allowed.
    example : tensor, tuple or dict, optional
        An input (tensor, tuple or dict) to trace; needed by structured methods and by synflow.
    examples : list, optional
        Instead of `example`, a list of inputs that together reach all branches, experts and optional
        arguments; each is traced and checked, costs are those of the first.
    batches : Iterable, optional
        (input, target) pairs, for methods that look at data (`survey_lib.METHODS[name].needs`).
    loss : Callable, optional
        loss(output, target); cross-entropy if left out.
    scope : str, optional
        layerwise, global, erk, row (weights) or isomorphic (channels); the paper's own if left out, and
        the only one of methods that choose and repair at once.
    layers : Sequence[str], optional
        Module names or patterns (`layer1.*`) to prune; all prunable ones if left out.
    protect : Sequence[str], optional
        Module names or patterns whose own weights and outputs stay whole, with all that is coupled to
        them.
    cut : bool, optional
        Structured methods cut by default and check that masked equals cut; False returns the masked
        model.
    masks : Masks, optional
        Masks of an earlier round; what they remove stays removed and counts towards `sparsity`.
    coupling : Coupling, optional
        `survey_lib.trace(model, example)`, to share one trace between several cuts of one model.
    seed : int, default 0
        Seed for methods that draw at random.

    Returns
    -------
    PruneResult
        The pruned model, its masks, and a report by layer.

    Raises
    ------
    ValueError
        Before any work, for an unknown method or scope, a method that needs training or rounds, a
        sparsity outside [0, 1), weights or data that are not finite, missing data, or a layer that matches
        nothing; once the model is traced, for a budget that cannot be met.

    Examples
    --------
    >>> result = prune(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), "magnitude", 0.5)
    >>> result.sparsity, int(result.masks["0.weight"].sum())
    (0.5, 16)
    >>> half = prune(nn.Sequential(nn.Linear(4, 80), nn.Linear(80, 2)), "l1-filter", macs=0.5, example=torch.ones(1, 4))
    >>> half.model[0].out_features
    40
    """
    chosen = find(method)
    wishes = {"sparsity": sparsity, "macs": macs, "parameters": parameters, "cost": cost}
    given = [name for name, value in wishes.items() if value is not None]
    if len(given) != 1:
        wanted = "exactly one of sparsity=, macs=, parameters=, or cost= with at_most="
        raise ValueError(f"give {wanted}; got {', '.join(given) or 'none'}")
    if (cost is None) != (at_most is None):
        raise ValueError("cost=callable and at_most=value belong together; give both or neither")
    budget = Budget.of(given[0], wishes[given[0]], at_most) if sparsity is None else None
    if not budget:
        check_pattern(chosen, check_sparsity(sparsity))
    elif chosen.structure != "structured" and (chosen.solve or chosen.rounds > 1 or chosen.unit == "n:m"):
        why = "has a fixed pattern, repairs the weights that stay, or scores them again in every round"
        raise ValueError(f"{method} {why}, so its cost cannot be foreseen; give sparsity=")
    _check_one_shot(chosen)
    if scope is not None and scope not in chosen.scopes:
        raise ValueError(f"unknown scope {scope!r}; {method} takes {', '.join(chosen.scopes)}")
    if examples is not None and (example is not None or not isinstance(examples, list) or not examples):
        raise ValueError("examples= is a list of inputs like example=; give one of the two")
    examples = examples or ([] if example is None else [example])
    cuts = chosen.structure == "structured"
    if not isinstance(cut, bool | None):
        raise ValueError(f"cut must be True, False or None; got {cut!r}")
    if cut and not cuts:
        raise ValueError(f"{method} removes single weights, which cannot be cut out; leave cut=None")
    check_seed(seed)
    if not examples and (cuts or macs is not None):
        raise ValueError(f"{method} must run the network to cut it or to count MACs: give example=an input")
    check_kind(original := unwrap(model))
    if batches is not None or chosen.looks_at_data:
        check_data(method, batches, loss)
        batches = list(batches)
        for number, batch in enumerate(batches, 1):
            check_values(f"batch {number}", batch)
    for one in examples:
        arguments(one)
    layers, protect = (_names(names, original, chosen.unit == "layer") for names in (layers, protect))
    if layers == []:
        raise ValueError("layers= is empty, so nothing would be pruned; leave it out to prune all layers")
    masking.check(original, masks := {} if masks is None else masks)
    with torch.inference_mode(False):
        bare = duplicate(original)
    weights = {name: p for name, p in bare.named_parameters() if p.is_floating_point()}
    check_finite(weights | {name: b for name, b in bare.named_buffers() if name.endswith(STATISTICS)})
    if cuts and masks:
        raise ValueError(f"{method} cuts, round by round: prune the smaller model again, without masks=")
    if coupling is not None and not isinstance(coupling, Coupling):
        raise ValueError(f"coupling= is survey_lib.trace(model, example); got {described(coupling)}")
    if coupling and (not cuts or chosen.unit == "layer"):
        raise ValueError(f"{method} does not look at coupled channels; leave coupling= out")
    step = prune_blocks if chosen.unit == "layer" else prune_channels if cuts else prune_weights
    # A forward may write to it, and hooks of the caller's may reach it from a copy; blocks are looked for in `bare`
    with torch.inference_mode(False), untouched(original, copies=[bare] if step is not prune_blocks else []):
        if step is prune_channels and not coupling:
            coupling = labelled(original, *examples)
        example, more = (examples[0], examples[1:]) if examples else (None, [])
        if budget and not cost:
            budget = replace(budget, dense=budget.spent(bare, example))
        wish = (sparsity, scope or chosen.scope, budget, example, more, batches, loss, layers, protect or ())
        request = Request(chosen, *wish, cuts if cut is None else cut, masks, coupling, seed)
        done = step(bare, request)
        while (over := _overspent(done, request, budget)) > 1:  # the prediction was too low
            request = replace(request, budget=replace(request.budget, limit=request.budget.limit / over))
            done = step(bare, request)
    result = _reported(bare, done, request)
    _warn(result, sparsity)
    return result


def during(
    model: nn.Module,
    method: str,
    sparsity: float,
    optimizer: torch.optim.Optimizer,
    steps: int,
    *,
    example=None,
    seed: int = 0,
) -> Session:
    """Run a method that lives in training inside anyone's own loop, through the optimizer's own hooks.

    Unlike `prune` this changes `model`, the one that the optimizer trains.

    Parameters
    ----------
    model : nn.Module
        The network in training.
    method : str
        A name in `survey_lib.METHODS` whose `when` is "during".
    sparsity : float
        Fraction of the weights or channels that is gone at the end, in [0, 1).
    optimizer : torch.optim.Optimizer
        Trains `model`; its own hooks run the method.
    steps : int
        Number of optimizer steps that are expected.
    example : tensor, tuple or dict, optional
        An input to trace, for methods that train channels.
    seed : int, default 0
        Seed for methods that draw at random.

    Returns
    -------
    Session
        After the training `.finish()` takes the hooks away and returns the masks.

    Raises
    ------
    ValueError
        For a sparsity outside [0, 1) or not that of the N:M pattern, no steps, a method that does not live
        in training, a model in which nothing can be pruned, or an earlier session that is not finished.

    Examples
    --------
    >>> layer = nn.Linear(4, 4); optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    >>> session = during(nn.Sequential(layer), "gradual", 0.5, optimizer, steps=1)
    >>> layer(torch.ones(1, 4)).sum().backward(); optimizer.step(); int(session.finish()["0.weight"].sum())
    8
    """
    sparsity = check_sparsity(sparsity)
    check_pattern(chosen := find(method), sparsity)
    if chosen.during is None:
        raise ValueError(f"{method} does not live in training; use survey_lib.prune(model, {method!r}, ...)")
    check_kind(bare := unwrap(model))
    whole(steps=steps)
    check_seed(seed)
    check_optimizer(prunable(bare).values(), optimizer)
    check_free(bare, optimizer)
    choice = {"pattern": chosen.pattern} if chosen.pattern else {}
    rule = chosen.during(bare, sparsity, steps, seed=seed, example=example, **choice)
    return Session(bare, rule, optimizer)


def _check_one_shot(method: Method) -> None:
    """ValueError that says what to do instead, for a method that is more than one ranking."""
    if method.score or method.solve:
        return
    if not method.during:
        how = f"RunConfig(method={method.name!r}, schedule='iterative', rounds=..., recovery='rewind')"
        raise ValueError(f"{method.name} prunes in rounds and rewinds after each: run it as {how}")
    later = f"; after its finish(), prune(model, {method.ranking!r}, ...) cuts out what it pushed to zero"
    way = f"use survey_lib.during(model, {method.name!r}, ...){later if method.ranking else ''}"
    raise ValueError(f"{method.name} lives in training: {way}")


def _names(names: Sequence[str] | None, model: nn.Module, blocks: bool) -> list[str] | None:
    """`layers` or `protect` as a list of which every name matches a module, or where no blocks are meant a matrix."""
    if names is None:
        return None
    if isinstance(names, Mapping | nn.Module) or not hasattr(names, "__iter__"):
        raise ValueError(f"layers and protect take a list of names or patterns; got {described(names)}")
    weights = [name for name, tensor in masking.tensors(model).items() if tensor.dim() >= 2]
    known = [n.rpartition(".")[0] or n for n in weights] + [n.removesuffix(".weight") for n in weights]
    known = [name for name, _ in model.named_modules() if name] if blocks else known
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if not isinstance(name, str):
            near = repr(known[0]) if known else "'conv1'"
            raise ValueError(f"layers and protect take names, such as {near}; got {described(name)}")
    choose(list(dict.fromkeys(known)), names)
    return names


def _overspent(done: Pruned, request: Request, budget: Budget | None) -> float:
    """Measured cost over the limit; 0 where there is nothing to measure: no budget, or channels masked and not cut."""
    if not budget or budget.cost or (request.method.structure == "structured" and not request.cut):
        return 0.0
    spent = request.budget.spent(done.model, request.example, None if request.cut else {})
    return spent / budget.limit / (1 + 1e-9)


def _reported(dense: nn.Module, done: Pruned, request: Request) -> PruneResult:
    """What a step made, with the report by layer and the shares that are left."""
    report = pd.DataFrame(done.rows, columns=["layer", "total", "kept", "group"])
    report.insert(1, "unit", request.method.unit)
    report["requested"] = done.sparsity if request.sparsity is None else request.sparsity
    report["sparsity"] = 1 - report["kept"] / report["total"]
    kept = sum(p.numel() if done.plan else int(p.count_nonzero()) for p in done.model.parameters())
    size, before = (
        sum(x.numel() * x.element_size() for x in (*net.parameters(), *net.buffers()))
        for net in (done.model, dense)
    )
    left = {
        "parameters": kept / sum(p.numel() for p in dense.parameters()),
        "MACs": done.macs if done.plan else 1.0,
        "bytes": size / before,
    }
    fields = (report, done.sparsity, done.skipped, left, done.over_kept)
    return PruneResult(done.model, done.masks, done.plan, *fields)


def _warn(result: PruneResult, asked: float | None) -> None:
    said, report = [], result.report
    if asked is not None and abs(result.sparsity - asked) > TOLERANCE:
        said.append(f"asked for sparsity {asked:.3f}, realised {result.sparsity:.3f} (see report)")
    if unused := [name for name, why in result.skipped if why == UNSEEN]:
        said.append(f"the example does not use {some(unused, 3)}; they stay whole, and are not in the check")
    # A block left out whole is stepped over, not cut off
    empty = list(report.loc[(report["kept"] == 0) & (report["unit"] != "layer"), "layer"])
    if empty:
        said.append(f"layer collapse: nothing is left of {', '.join(empty)}; the network is cut off there")
    for text in said:
        warnings.warn(text, stacklevel=3)


def save(result: PruneResult, path: str | Path) -> Path:
    """Write a pruned model as one safetensors file: weights, masks and plan; nothing is pickled (B57).

    Parameters
    ----------
    result : PruneResult
        What `prune` returned.
    path : str | Path
        The file to write.

    Returns
    -------
    Path
        The file.

    Examples
    --------
    >>> import tempfile; result = prune(nn.Sequential(nn.Linear(2, 2)), "magnitude", 0.5)
    >>> load(save(result, tempfile.mkdtemp() + "/small.safetensors"), nn.Sequential(nn.Linear(2, 2))).sparsity
    0.5
    """
    if not isinstance(result, PruneResult):
        raise ValueError(f"save writes what prune returned; got {described(result)}: pass the result")
    if Path(path).is_dir() or not Path(path).parent.is_dir():
        raise ValueError(f"{path} is a folder, or lies in none; name a file in a folder that is there")
    meta = {name: getattr(result, name) for name in ("sparsity", "skipped", "left", "over_kept")}
    meta["report"] = result.report.to_dict("split")
    save_file(path, result.model, result.plan, result.masks, meta)
    return Path(path)


def load(path: str | Path, model: nn.Module) -> PruneResult:
    """Rebuild what `save` wrote from a fresh dense model of the same class.

    Parameters
    ----------
    path : str | Path
        A file that `save` wrote.
    model : nn.Module
        A dense model of the class that was pruned; it is not changed.

    Returns
    -------
    PruneResult
        As `prune` returned it.

    Raises
    ------
    ValueError
        For a file that is not ours, a newer schema, or a model it was not made from.
    """
    check_kind(unwrap(model))
    pruned, plan, masks, meta = load_file(path, unwrap(model))
    try:
        report = pd.DataFrame(meta["report"]["data"], columns=meta["report"]["columns"])
        skipped = [(name, reason) for name, reason in meta["skipped"]]
        left, over_kept = dict(meta["left"]), tuple(meta["over_kept"])
        return PruneResult(pruned, masks, plan, report, float(meta["sparsity"]), skipped, left, over_kept)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} lacks the report of survey_lib.save ({error!r}); save it again") from error
