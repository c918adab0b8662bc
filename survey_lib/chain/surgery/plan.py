"""The plan of a cut, as JSON: shapes of the dense model, removed positions, changed attributes."""

from collections.abc import Mapping

import numpy as np
from torch import nn

from survey_lib.chain import masks
from survey_lib.chain.coupling.readings import NO_WIDTHS
from survey_lib.chain.surgery.resize import Attributes, Removed

SCHEMA = 1
PARTS = {"schema", "shapes", "removed", "attributes"}


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


def changes(plan: Mapping) -> tuple[Removed, Attributes]:
    """What `slim` needs, from a plan that was checked."""
    removed = {t: {int(d): np.array(i, int) for d, i in axes.items()} for t, axes in plan["removed"].items()}
    return removed, {(m, name): value for m, row in plan["attributes"].items() for name, value in row.items()}


def check_plan(model: nn.Module, plan: Mapping) -> None:
    """Check that a plan fits the model.

    Parameters
    ----------
    model : nn.Module
        The network.
    plan : Mapping
        What `make_plan` returned.

    Raises
    ------
    ValueError
        If anything does not fit: schema, model, a name, a position, an attribute; the text says what.
    """
    if isinstance(plan, Mapping) and plan.get("schema", SCHEMA) != SCHEMA:
        raise ValueError(f"plan of schema {plan['schema']}, this version reads {SCHEMA}; update survey_lib")
    if not _has_form(plan):
        raise ValueError(
            "not a plan: shapes, removed and attributes are tables by name, blocks a list of names"
        )
    shapes = _shapes(model)
    for name in sorted(shapes.keys() | plan["shapes"].keys()):
        if shapes.get(name) != plan["shapes"].get(name):
            raise ValueError(
                f"the plan was made for another model: {name!r} has shape {plan['shapes'].get(name)} in the plan "
                f"and {shapes.get(name)} here; build the dense model with the same class and arguments"
            )
    for name, axes in plan["removed"].items():
        for dim, index in axes.items():
            _check_positions(name, dim, index, shapes)
    modules = dict(model.named_modules())
    for name in plan.get("blocks", []):
        if not name or name not in modules:
            raise ValueError(f"the plan leaves out block {name!r}, which the model does not have")
        inside = [other for other in (*plan["removed"], *plan["attributes"]) if other.startswith(f"{name}.")]
        if inside:
            raise ValueError(
                f"the plan leaves out block {name!r} and also cuts {inside[0]!r}, which is inside"
            )
    for module, row in plan["attributes"].items():
        for name, value in row.items():
            old = vars(modules[module]).get(name) if module in modules else None
            if name in NO_WIDTHS or not _narrower(old, value):
                raise ValueError(
                    f"the plan sets {module}.{name} to {value!r}; only existing widths may be set, to smaller ones"
                )


def _has_form(plan: object) -> bool:
    """Whether this is JSON of the form that `make_plan` writes."""
    if not isinstance(plan, Mapping) or not PARTS <= plan.keys():
        return False
    tables, blocks = [plan[part] for part in ("shapes", "removed", "attributes")], plan.get("blocks", [])
    rows = [row for table in tables[1:] if isinstance(table, dict) for row in table.values()]
    names = isinstance(blocks, list) and all(isinstance(name, str) for name in blocks)
    return names and all(isinstance(table, dict) for table in [*tables, *rows])


def _check_positions(name: str, dim: str, index, shapes: dict[str, list[int]]) -> None:
    axes = {str(d): size for d, size in enumerate(shapes.get(name, ()))}
    if dim not in axes:
        raise ValueError(f"the plan cuts axis {dim} of {name!r}, which the model does not have")
    inside = isinstance(index, list) and all(type(i) is int and 0 <= i < axes[dim] for i in index)
    if not inside or len(set(index)) >= axes[dim]:
        raise ValueError(
            f"the plan cuts positions of {name} axis {dim} outside 0..{axes[dim] - 1}, or all of them"
        )


def _narrower(old, value) -> bool:
    """Whether both are an integer, or as many, from 1 to what the old one is."""
    before = list(old) if isinstance(old, (tuple, list)) else [old]
    after = list(value) if isinstance(value, (tuple, list)) else [value]
    alike = isinstance(old, (tuple, list)) == isinstance(value, (tuple, list)) and len(before) == len(after)
    whole = all(type(one) is int for one in (*before, *after))
    return alike and whole and all(0 < small <= wide for wide, small in zip(before, after, strict=True))


def _shapes(model: nn.Module) -> dict[str, list[int]]:
    return {name: list(tensor.shape) for name, tensor in masks.tensors(model).items()}
