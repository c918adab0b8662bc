"""The small model: tensors cut to the kept positions, integer attributes set to the new widths."""

import traceback
from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from survey_lib.chain.coupling.groups import Coupling
from survey_lib.chain.inputs import duplicate, plain_tensors

# attribute -> (tensor, axis): widths that modules of torch state about themselves
STATED = {
    nn.Linear: {"out_features": ("weight", 0), "in_features": ("weight", 1)},
    nn.Embedding: {"num_embeddings": ("weight", 0), "embedding_dim": ("weight", 1)},
    nn.PReLU: {"num_parameters": ("weight", 0)},
    nn.RNNBase: {"input_size": ("weight_ih_l0", 1), "hidden_size": ("weight_hh_l0", 1)},
}
PROJECTED = {"hidden_size": ("weight_hr_l0", 1), "proj_size": ("weight_hr_l0", 0)}  # LSTM with proj_size
# axes of weights -> starts of the names of attributes that state their size
WIDTHS = {
    (0,): ("out_", "groups"),
    (1,): ("in_",),
    (0, 1): ("num_features", "embed_dim", "head_hidden_size", "hidden_size"),
}
LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}

Removed = Mapping[str, Mapping[int, np.ndarray]]
Attributes = dict[tuple[str, str], object]


def slim(model: nn.Module, removed: Removed, attributes: Attributes) -> nn.Module:
    """A new model without the removed positions; storage of its own, dtypes, flags and formats kept.

    Parameters
    ----------
    model : nn.Module
        The network.
    removed : Removed
        Positions by tensor and axis.
    attributes : Attributes
        New values by module and name.
    """
    replaced: dict[int, Tensor] = {}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        replaced[id(tensor)] = shorten(tensor, removed.get(name, {}))
    for tensor in plain_tensors(model):
        replaced[id(tensor)] = tensor.detach().clone()
    small = duplicate(model, replaced)
    _set(small, attributes)
    return small


def _set(model: nn.Module, attributes: Attributes) -> None:
    for (module, attribute), value in attributes.items():
        owner = model.get_submodule(module)
        setattr(owner, attribute, type(getattr(owner, attribute))(value))


def structure(model: nn.Module) -> nn.Module:
    """A copy of the modules that shares the parameters; what a forward may write to is its own."""
    own = {id(tensor): tensor.detach().clone() for tensor in [*model.buffers(), *plain_tensors(model)]}
    return duplicate(model, own | {id(parameter): parameter for parameter in model.parameters()})


@torch.no_grad()
def shorten(tensor: Tensor, axes: Mapping[int, np.ndarray]) -> Tensor:
    """The tensor without these positions of each axis, in its memory format.

    Parameters
    ----------
    tensor : Tensor
        Tensor of any type.
    axes : Mapping[int, np.ndarray]
        Removed positions by axis.
    """
    short = tensor.detach() if axes else tensor.detach().clone()
    for dim, gone in axes.items():
        keep = np.delete(np.arange(tensor.shape[dim]), gone)
        short = short.index_select(dim, torch.from_numpy(keep).to(tensor.device))
    layout = LAYOUTS.get(tensor.dim())
    if layout and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=layout):
        short = short.contiguous(memory_format=layout)
    return nn.Parameter(short, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else short


def new_attributes(model: nn.Module, coupling: Coupling, removed: Removed, alive: np.ndarray) -> Attributes:
    """Changed attributes of torch's own modules: seen in the trace, or stated by a tensor's shape.

    Parameters
    ----------
    model : nn.Module
        The network.
    coupling : Coupling
        What `trace` returned for the model.
    removed : Removed
        Positions by tensor and axis.
    alive : np.ndarray
        For each label of the trace, whether it stays.
    """
    changes: Attributes = {}
    for (name, attribute), vectors in coupling.attributes.items():
        old = getattr(model.get_submodule(name), attribute)
        if isinstance(old, (tuple, list)):
            kept = type(old)(int(alive[vector].sum()) for vector in vectors)
        else:  # instance norm sees batch · channels
            kept = int(alive[vectors].sum()) * old // len(vectors)
        if kept != old:
            changes[name, attribute] = kept
    for name, module in model.named_modules():
        for attribute, (tensor, dim) in _stated(module).items():
            gone = removed.get(f"{name}.{tensor}" if name else tensor, {}).get(dim)
            if gone is not None:
                changes[name, attribute] = getattr(module, attribute) - len(gone)
    return changes


def _stated(module: nn.Module) -> dict[str, tuple[str, int]]:
    found = {a: place for kind, row in STATED.items() if isinstance(module, kind) for a, place in row.items()}
    return found | PROJECTED if getattr(module, "proj_size", 0) else found


def unread(model: nn.Module, small: nn.Module) -> Attributes:
    """Set the widths that modules state and no forward reads (case B94).

    Such as `num_features`, or those of a branch to be fused. A width has gone where the tensors nearest
    inside the module, on that side, all went from it to one other. Whether the model still computes the same
    with them is for the caller to check.

    Parameters
    ----------
    model : nn.Module
        The network.
    small : nn.Module
        The cut model; it is changed.
    """
    changes: Attributes = {}
    for (name, module), shrunk in zip(model.named_modules(), small.modules(), strict=True):
        for attribute, old in vars(module).items():
            if type(old) is int and old > 1 and vars(shrunk)[attribute] == old:
                side = next((axes for axes, starts in WIDTHS.items() if attribute.startswith(starts)), ())
                new = _nearest(module, shrunk, old, side) if side else old
                if new != old:
                    changes[name, attribute] = new
    _set(small, changes)
    return changes


def _nearest(module: nn.Module, small: nn.Module, old: int, side: tuple[int, ...]) -> int:
    """What this width became in the tensors of the module and its children, else deeper; `old` if they disagree."""
    levels: dict[int, set[int]] = {}
    for (name, tensor), short in zip(module.named_parameters(), small.parameters(), strict=True):
        for dim in side:
            if dim < tensor.dim() and tensor.shape[dim] == old:
                levels.setdefault(max(name.count("."), 1), set()).add(short.shape[dim])
    found = levels[min(levels)] if levels else {old}
    return found.pop() if len(found) == 1 else old


def repair(
    error: BaseException, small: nn.Module, coupling: Coupling, alive: np.ndarray, done: Attributes
) -> Attributes:
    """Where a cut model fails: integer attributes that hold an old width, set to the new one.

    Looks from the innermost module of the traceback outwards, and changes all modules of the first class in
    which something fits; empty if nothing does.

    Parameters
    ----------
    error : BaseException
        The error that the forward raised.
    small : nn.Module
        The cut model; it is changed.
    coupling : Coupling
        What `trace` returned for the model.
    alive : np.ndarray
        For each label of the trace, whether it stays.
    done : Attributes
        Those that have their new width; it may be the old one of another axis.
    """
    for kind in dict.fromkeys(map(type, _failing_modules(error))):
        changes: Attributes = {}
        for name, module in small.named_modules():
            if type(module) is kind:
                # One whose forward was not called, but another method, worked inside its parent
                owner = name if name in coupling.widths else name.rpartition(".")[0]
                widths = _new_widths(coupling.widths.get(owner, ()), alive)
                for attribute, old in vars(module).items():
                    if (name, attribute) not in done and (new := _narrowed(old, widths)) != old:
                        changes[name, attribute] = new
        if changes:
            _set(small, changes)
            return changes
    return {}


def _narrowed(old: object, widths: Mapping[int, int]) -> object:
    """A width, or several, with the new ones in place of the old; anything else as it is."""
    if type(old) in (tuple, list) and all(type(one) is int for one in old):
        return type(old)(widths.get(one, one) for one in old)
    return widths.get(old, old) if type(old) is int else old


def _failing_modules(error: BaseException) -> list[nn.Module]:
    """Modules whose code was running, innermost first."""
    owners = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return [owner for owner in reversed(owners) if isinstance(owner, nn.Module)]


def _new_widths(vectors: Iterable[np.ndarray], alive: np.ndarray) -> dict[int, int]:
    """What became of each width: axes of distinct labels or whole runs, and numbers of distinct channels.

    Tiled labels (batch · heads) count by their distinct channels, and as a whole axis (heads · head width) only where
    nothing else has this width: no axis, and no run such as the width of a head, which stays where whole heads go.
    """
    sure, tiled, runs = defaultdict(set), defaultdict(set), set()
    for vector in vectors:
        distinct, stays = np.unique(vector), int(alive[vector].sum())
        if 1 + (vector[1:] != vector[:-1]).sum() == len(distinct):
            sure[len(vector)].add(stays)
            runs.add(len(vector) / len(distinct))
        else:
            tiled[len(vector)].add(stays)
        sure[len(distinct)].add(int(alive[distinct].sum()))
    found = {old: new for old, new in tiled.items() if old not in runs} | sure
    return {old: max(new - {old}) for old, new in found.items() if len(new - {old}) == 1}
