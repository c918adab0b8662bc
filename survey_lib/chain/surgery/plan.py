"""Repeat a cut from its plan, save and load slim models.

A plan is JSON: shapes of the dense model, which positions went from which axis of which tensor, and which attributes
changed. Replayed on a fresh dense model it rebuilds the small architecture, so that a slim model is one safetensors file.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import safetensors
from safetensors.torch import save_file as save_tensors
from torch import nn

from survey_lib.chain import blocks
from survey_lib.chain.coupling import groups
from survey_lib.chain.coupling.labels import NO_WIDTHS
from survey_lib.chain.inputs import duplicate, reason
from survey_lib.chain.masks import Masks, check
from survey_lib.chain.surgery.resize import Attributes, Removed, slim

SCHEMA = 1
BIASED = (nn.Linear, nn.Conv1d, nn.Conv2d)  # layers that can be given a bias


def make_plan(model: nn.Module, removed: Removed, attributes: Attributes) -> dict:
    """What repeats a cut, as strict JSON: shapes before, positions removed, attributes changed.

    Parameters
    ----------
    model : nn.Module
        The network.
    removed : Removed
        Positions by tensor and axis.
    attributes : Attributes
        New values by module and name.
    """
    changed: dict[str, dict] = {}
    for (module, attribute), value in sorted(attributes.items()):
        changed.setdefault(module, {})[attribute] = value if type(value) is int else list(value)
    return {
        "schema": SCHEMA,
        "shapes": _shapes(model),
        "removed": {t: {str(d): index.tolist() for d, index in axes.items()} for t, axes in removed.items()},
        "attributes": changed,
    }


def replay(model: nn.Module, plan: Mapping) -> nn.Module:
    """The small architecture rebuilt from a dense model of the same class.

    Its weights are the dense ones, cut.

    Parameters
    ----------
    model : nn.Module
        A dense model of the same class.
    plan : Mapping
        What `cut` returned with its model.

    Raises
    ------
    ValueError
        Before any work, for a plan of another schema or another model, unknown names, positions out of
        range, or attributes that the module does not have as integers.
    """
    model = _fitting(model, plan)
    return blocks.remove(slim(model, *_changes(plan)), plan.get("blocks", []))


def plan_masks(model: nn.Module, plan: Mapping) -> Masks:
    """The masks that a plan stands for, on the dense model it was made from.

    Parameters
    ----------
    model : nn.Module
        The dense model.
    plan : Mapping
        What `cut` returned with its model.
    """
    model = _fitting(model, plan)
    masks = groups.position_masks(groups.shapes(model), _changes(plan)[0])
    return masks | blocks.block_masks(model, plan.get("blocks", []))


def biased(model: nn.Module, layers: Iterable[str]) -> nn.Module:
    """A copy in which the named layers have a bias: zeros where there was none.

    Parameters
    ----------
    model : nn.Module
        The network.
    layers : Iterable[str]
        Names of layers.

    Examples
    --------
    >>> biased(nn.Sequential(nn.Linear(3, 2, bias=False)), ["0"])[0].bias.tolist()
    [0.0, 0.0]
    """
    model = duplicate(model)
    for name in layers:
        layer = model.get_submodule(name)
        if layer.bias is None:
            layer.bias = nn.Parameter(layer.weight.new_zeros(len(layer.weight)))
    return model


def save_file(path: str | Path, model: nn.Module, plan: Mapping | None, masks: Masks, meta: Mapping) -> None:
    """Write weights, plan and notes to one safetensors file; a shared tensor is stored once.

    Parameters
    ----------
    path : str | Path
        The file to write.
    model : nn.Module
        The network.
    plan : Mapping | None
        Plan of a cut model.
    masks : Masks
        Masks of the dense model; they are stored where no plan says them.
    meta : Mapping
        Notes on the model, as JSON.

    Raises
    ------
    ValueError
        If a mask does not fit the model or the notes are no strict JSON.
    """
    owners, masks = _owners(model), {} if plan else masks
    check(model, masks)
    stored = {f"weight:{name}": t for name, t in model.state_dict().items() if owners[name] == name}
    stored |= {f"mask:{name}": mask for name, mask in masks.items()}
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in stored.items()}
    notes = json.dumps({"schema": SCHEMA, "plan": plan, "meta": dict(meta)}, allow_nan=False)
    save_tensors(stored, str(path), metadata={"survey_lib": notes})


def load_file(path: str | Path, model: nn.Module) -> tuple[nn.Module, dict | None, Masks, dict]:
    """Model, plan, masks and notes from a file of `save_file`; `model` is a dense one of the same class.

    The plan is replayed first, so the file of a cut model returns the cut model, bit for bit. Nothing is
    unpickled.

    Parameters
    ----------
    path : str | Path
        What `save_file` wrote.
    model : nn.Module
        A dense one of the same class; it is not changed.

    Raises
    ------
    ValueError
        For files of another kind, a later schema, or another model.
    """
    try:
        with safetensors.safe_open(str(path), "pt") as file:
            notes = json.loads((file.metadata() or {})["survey_lib"])
            schema, plan, meta = notes["schema"], notes["plan"], notes["meta"]
            stored = {name: file.get_tensor(name) for name in file.keys()}
    except safetensors.SafetensorError as error:
        why = f"{path} is not a safetensors file ({error}); files of survey_lib.save are"
        raise ValueError(why) from error
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        why = f"{path} was not written by survey_lib.save, or is damaged ({reason(error)})"
        raise ValueError(f"{why}; use safetensors.torch.load_file for its tensors") from error
    if schema != SCHEMA:
        raise ValueError(f"{path} has schema {schema}, this version reads {SCHEMA}; update survey_lib")
    small = replay(model, plan) if plan else duplicate(model)
    weights, masks = (
        {name.removeprefix(kind): t for name, t in stored.items() if name.startswith(kind)}
        for kind in ("weight:", "mask:")
    )
    _load_weights(small, weights, path)
    check(small, masks)
    return small, plan, plan_masks(model, plan) if plan else masks, meta


def _changes(plan: Mapping) -> tuple[Removed, Attributes]:
    """What `slim` needs, from a plan that was checked."""
    removed = {t: {int(d): np.array(i, int) for d, i in axes.items()} for t, axes in plan["removed"].items()}
    return removed, {(m, name): value for m, row in plan["attributes"].items() for name, value in row.items()}


def _shapes(model: nn.Module) -> dict[str, list[int]]:
    return {name: list(shape) for name, shape in groups.shapes(model).items()}


def _fitting(model: nn.Module, plan: Mapping) -> nn.Module:
    """The model with the biases that a method added before the cut; ValueError where the plan does not fit it."""
    try:
        if plan.get("schema", SCHEMA) != SCHEMA:
            raise ValueError(
                f"plan of schema {plan['schema']}, this version reads {SCHEMA}; update survey_lib"
            )
        model = _with_biases(model, plan.get("biases", []))
        _check_shapes(model, plan)
        _check_names(model, plan)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("not a plan: shapes, removed and attributes are tables, blocks is a list") from error
    return model


def _check_shapes(model: nn.Module, plan: Mapping) -> None:
    """Check that the plan is of a model with these shapes, and cuts positions that they have."""
    shapes = _shapes(model)
    for name in sorted(shapes.keys() | plan["shapes"].keys()):
        if shapes.get(name) != plan["shapes"].get(name):
            there, here = plan["shapes"].get(name), shapes.get(name)
            what = (
                f"the plan was made for another model: {name!r} has shape {there} in the plan and {here} here"
            )
            raise ValueError(f"{what}; build the dense model with the same class and arguments")
    for name, axes in plan["removed"].items():
        sizes = {str(dim): size for dim, size in enumerate(shapes.get(name, ()))}
        for dim, index in axes.items():
            if dim not in sizes:
                raise ValueError(f"the plan cuts axis {dim} of {name!r}, which the model does not have")
            size = sizes[dim]
            if not all(type(i) is int and 0 <= i < size for i in index) or len(set(index)) >= size:
                where = f"{name} axis {dim} outside 0..{size - 1}"
                raise ValueError(f"the plan cuts positions of {where}, or all of them")


def _check_names(model: nn.Module, plan: Mapping) -> None:
    """Check that the model has the blocks that the plan leaves out and the attributes that it sets."""
    modules = dict(model.named_modules())
    for name in plan.get("blocks", []):
        if not name or name not in modules:
            raise ValueError(f"the plan leaves out block {name!r}, which the model does not have")
    for module, row in plan["attributes"].items():
        for name, value in row.items():
            old = vars(modules[module]).get(name) if module in modules else None
            if name in NO_WIDTHS or not _narrower(old, value):
                what = f"the plan sets {module}.{name} to {value!r}"
                raise ValueError(f"{what}; only existing widths may be set, to smaller ones")


def _with_biases(model: nn.Module, names: object) -> nn.Module:
    free = {n for n, layer in model.named_modules() if isinstance(layer, BIASED) and layer.bias is None}
    if not isinstance(names, list) or not all(isinstance(name, str) and name in free for name in names):
        raise ValueError(f"the plan adds biases to {names!r}; only layers without one can get one")
    return biased(model, names) if names else model


def _narrower(old: object, value: object) -> bool:
    """Whether both are an integer, or as many, from 1 to what the old one is."""
    if not isinstance(old, (tuple, list)):
        old, value = [old], [value]
    whole = isinstance(value, (tuple, list)) and all(type(one) is int for one in (*old, *value))
    return whole and len(old) == len(value) and all(0 < b <= a for a, b in zip(old, value, strict=True))


def _owners(model: nn.Module) -> dict[str, str]:
    """For each name of the state dict the first name of the same tensor."""
    first: dict[tuple, str] = {}
    state = model.state_dict().items()
    return {n: first.setdefault((t.data_ptr(), t.shape, t.stride()), n) if t.numel() else n for n, t in state}


def _load_weights(small: nn.Module, stored: Masks, path: str | Path) -> None:
    owned = [name for name, owner in _owners(small).items() if owner == name]
    state = small.state_dict()
    for name in sorted({*owned, *stored}):
        here, there = (
            f"{t.dtype} {tuple(t.shape)}" if t is not None else "nothing"
            for t in (state.get(name), stored.get(name))
        )
        if here != there:
            raise ValueError(f"{path} holds {there} for {name!r}, the model has {here}: build the same model")
    for name in owned:
        state[name].copy_(stored[name])
