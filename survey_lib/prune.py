"""prune(model, method, sparsity): the chain on anyone's model.

    evidence -> score -> select -> mask -> cut
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from survey_lib.catalogue import check_pattern, find
from survey_lib.chain import during as training
from survey_lib.chain.masks import Masks, unwrap
from survey_lib.chain.selection import check_finite, check_sparsity
from survey_lib.chain.surgery import cut as surgery
from survey_lib.steps.blocks import prune_blocks
from survey_lib.steps.channels import prune_channels
from survey_lib.steps.request import PruneResult, Request
from survey_lib.steps.weights import prune_weights

TOLERANCE = 0.02  # realised sparsity further than this from the request is warned about (case B10)


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
    if cuttable and masks:
        raise ValueError(f"{method} goes round by round on what it cut: prune the smaller model again, without masks=")
    if cuttable and example is None:
        raise ValueError(f"{method} cuts the network and must run it to see how: give example=an input")
    step = prune_blocks if chosen.unit == "layer" else prune_channels if cuttable else prune_weights
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


def _warn(result: PruneResult, request: Request) -> None:
    if abs(result.sparsity - request.sparsity) > TOLERANCE:
        warnings.warn(f"asked for sparsity {request.sparsity:.3f}, realised {result.sparsity:.3f} (see report)", stacklevel=3)
    units = result.report[result.report["unit"] != "layer"]  # a block left out whole is stepped over, not cut off
    empty = list(units.loc[units["kept"] == 0, "layer"])
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
    try:
        report = pd.DataFrame(meta["report"]["data"], columns=meta["report"]["columns"])
        skipped = [(name, reason) for name, reason in meta["skipped"]]
        return PruneResult(pruned, masks, plan, report, float(meta["sparsity"]), skipped)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} lacks the report that survey_lib.save writes ({error!r}); save it again") from error
