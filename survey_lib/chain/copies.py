"""Copies of anyone's model, and the caller's model put back as it was found."""

import copy
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.optim.swa_utils import AveragedModel

WRAPPERS = (nn.DataParallel, DistributedDataParallel, AveragedModel)
PICKLING = ("__deepcopy__", "__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")
# Numbers that can be compared and zeroed
RANKED = {torch.float16, torch.bfloat16, torch.float32, torch.float64}
ATOMS = {int, float, bool, str, type(None)}
TABLES = {dict, OrderedDict, set}


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside data-parallel, averaging or torch.compile wrappers (cases B40, B84)."""
    while True:
        inner = model.module if isinstance(model, WRAPPERS) else getattr(model, "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def check_runnable(model: nn.Module) -> None:
    """ValueError for what is no model, or one without values, with the way out."""
    if not isinstance(model, nn.Module):
        result = isinstance(getattr(model, "model", None), nn.Module)
        way = "pass result.model" if result else "pass the torch.nn.Module itself, built and with its weights"
        raise ValueError(f"a model must be a torch.nn.Module; got {type(model).__name__}: {way}")
    for name, tensor in model.named_parameters():
        if is_lazy(tensor):
            raise ValueError(f"{name} is not initialised yet; run the model once on an example first")
        if tensor.is_meta:
            raise ValueError(
                f"{name} is a meta tensor, a shape without values; load the weights first (to_empty, "
                "then load_state_dict)"
            )


def check_kind(model: nn.Module) -> None:
    """ValueError for a model that can be neither pruned nor counted, with the way out (case B84)."""
    check_runnable(model)
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError(
            "a ScriptModule is compiled code; take the model it was made from, script the result"
        )
    for name, tensor in model.named_parameters():
        if tensor.is_floating_point() and tensor.dtype not in RANKED:
            raise ValueError(
                f"{name} is {tensor.dtype}, which cannot be ranked; prune in float32 or bfloat16 and "
                "quantize the result"
            )
    for name, module in model.named_modules():
        if "quantized" in type(module).__module__:
            raise ValueError(
                f"{name or 'the model'} is a quantized {type(module).__name__}, whose weights are packed; use the "
                "float model, and quantize the result"
            )


def duplicate(model: nn.Module, replaced: Mapping[int, object] | None = None) -> nn.Module:
    """A deep copy, with other tensors for those of these ids.

    What no copy can be made of is shared (a lock, an open file); a kept activation is copied without its
    graph.

    Parameters
    ----------
    model : nn.Module
        The network.
    replaced : Mapping[int, object], optional
        Id of a tensor -> what stands for it in the copy.
    """
    memo = dict(replaced or {})
    try:
        return _deepcopy(model, memo)
    except Exception:
        memo = _uncopyable(model) | memo
    try:
        return _deepcopy(model, memo)
    except Exception as error:
        raise ValueError(f"all work is done on a copy, and copy.deepcopy(model) fails: {error!r}") from error


def _deepcopy(model: nn.Module, memo: dict[int, object]) -> nn.Module:
    """`copy.deepcopy`, but of modules that are pickled like any other only the values are copied, which is faster."""
    usual = {_pickling(nn.Module), _pickling(_ConvNd)}  # a convolution only reads old files in another way
    modules = list(model.modules())
    plain = {kind for kind in set(map(type, modules)) if _pickling(kind) in usual}
    memo = memo | {id(module): object.__new__(type(module)) for module in modules if type(module) in plain}
    for module in reversed(modules):  # the inner ones first: others may ask them while they are copied
        if type(module) in plain:
            vars(memo[id(module)]).update(_values(vars(module), memo))
    return copy.deepcopy(model, memo)


def _pickling(kind: type) -> tuple:
    return tuple(getattr(kind, name, None) for name in PICKLING)


def _values(table: dict[str, object], memo: dict[int, object]) -> dict[str, object]:
    """`copy.deepcopy` of the values, without its detours for numbers, names and the many tables of a module."""
    copied = {}
    for name, value in table.items():
        kind = type(value)
        if kind in ATOMS or (kind is tuple and ATOMS.issuperset(map(type, value))):
            copied[name] = value
        elif id(value) in memo:
            copied[name] = memo[id(value)]
        elif kind in TABLES and (not value or ATOMS.issuperset(map(type, value))):
            memo[id(value)] = copied[name] = new = kind()
            new.update(value if kind is set else _values(value, memo))
        else:
            copied[name] = copy.deepcopy(value, memo)
    return copied


def _uncopyable(model: nn.Module) -> dict[int, object]:
    """What stands in a copy for the attributes that deepcopy refuses."""
    whole, found = {id(module): module for module in model.modules()}, {}
    for module in model.modules():
        for value in (v for name, v in vars(module).items() if name != "_modules"):
            found |= {id(x): x.detach().clone() for x in leaves(value) if not x.is_leaf}
            try:
                copy.deepcopy(value, whole | found)
            except Exception:
                found[id(value)] = value
    return found


@contextmanager
def untouched(*models: nn.Module, copies: Sequence[nn.Module] = ()) -> Iterator[None]:
    """Put back what is written inside.

    Tensors bit by bit, modes, attributes and the lists they hold (case B72).

    Parameters
    ----------
    *models : nn.Module
        The networks.
    copies : Sequence[nn.Module], default ()
        Copies of them to which nobody writes inside; they spare another copy of the tensors.
    """
    modules = [module for model in models for module in model.modules()]
    saved = _with_values(copies) or [x.detach().clone() for x in _with_values(models)]
    values = list(zip(_with_values(models), saved, strict=True))
    attributes = [(module, dict(vars(module))) for module in modules]
    held = [
        (v, v.copy())
        for _, found in attributes
        for v in found.values()
        if isinstance(v, (list, dict, set, deque))
    ]
    try:
        yield
    finally:
        for module, found in attributes:
            vars(module).clear()
            vars(module).update(found)
        for container, before in held:
            # Some cannot be written to, such as frozen dicts
            if not (container or before) or _entries(container) == _entries(before):
                continue
            container.clear()
            (container.extend if isinstance(container, (list, deque)) else container.update)(before)
        for tensor, before in values:
            if tensor.layout is not torch.strided or not torch.equal(tensor, before):
                tensor.data.copy_(before)


def _with_values(models: Iterable[nn.Module]) -> list[Tensor]:
    """Parameters, buffers and plain tensors that have values."""
    found = (x for model in models for x in (*model.parameters(), *model.buffers(), *plain_tensors(model)))
    return [x for x in found if not (is_lazy(x) or x.is_meta)]


def plain_tensors(model: nn.Module) -> list[Tensor]:
    """Tensors that modules hold as attributes, neither parameter nor buffer."""
    return [v for module in model.modules() for v in vars(module).values() if isinstance(v, Tensor)]


def _entries(container) -> list:
    """What a list, set or dict holds, by identity."""
    if isinstance(container, dict):
        return [(key, id(value)) for key, value in container.items()]
    return list(map(id, container))


def leaves(value) -> Iterator[Tensor]:
    """All tensors in nested lists, dicts and plain objects."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from leaves(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from leaves(one)
    elif hasattr(value, "__dict__") and not isinstance(value, (type, nn.Module)):
        yield from leaves(vars(value))
