"""What a caller passes: models, examples, batches and numbers. Checked before any work, copied, put back as found."""

import contextlib
import copy
import difflib
import fnmatch
import hashlib
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from numbers import Integral, Real

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.optim.swa_utils import AveragedModel

WRAPPERS = (nn.DataParallel, DistributedDataParallel, AveragedModel)
# Numbers that can be compared and zeroed
RANKED = {torch.float16, torch.bfloat16, torch.float32, torch.float64}


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
            raise ValueError(f"{name} is a meta tensor, a shape without values; load the weights first")


def check_kind(model: nn.Module) -> None:
    """ValueError for a model that can be neither pruned nor counted, with the way out (case B84)."""
    check_runnable(model)
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError("a ScriptModule is compiled code; prune the model it was made from")
    for name, tensor in model.named_parameters():
        if tensor.is_floating_point() and tensor.dtype not in RANKED:
            raise ValueError(f"{name} is {tensor.dtype}; prune in float32, quantize the result")
    for name, module in model.named_modules():
        if "quantized" in type(module).__module__:
            kind = f"{name or 'the model'} is a quantized {type(module).__name__}"
            raise ValueError(f"{kind}, whose weights are packed; prune before quantization")


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
    replaced = replaced or {}
    with contextlib.suppress(Exception):
        return copy.deepcopy(model, dict(replaced))
    try:
        return copy.deepcopy(model, _uncopyable(model) | replaced)
    except Exception as error:
        raise ValueError(f"all work is done on a copy, and copy.deepcopy(model) fails: {error!r}") from error


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


@contextlib.contextmanager
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
    attributes = [vars(module) for module in modules]
    held = [v for found in attributes for v in found.values() if isinstance(v, (list, dict, set, deque))]
    containers = [(container, container.copy()) for container in (*attributes, *held)]
    try:
        yield
    finally:
        for container, before in containers:
            if _entries(container) != _entries(before):  # else let it be: frozen dicts cannot be written to
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


def whole(**values: int) -> None:
    """ValueError for a value that is no whole number of at least 1."""
    for name, value in values.items():
        if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be at least 1, a whole number; got {value!r}")


def check_seed(seed: int) -> None:
    """ValueError for a seed that torch or numpy would not take."""
    if not isinstance(seed, Integral) or isinstance(seed, bool) or not 0 <= seed < 2**63:
        raise ValueError(f"seed must be a whole number from 0 to 2**63 - 1; got {seed!r}")


def positive(**values: float) -> None:
    """ValueError for a value that is no finite number above 0."""
    for name, value in values.items():
        if not isinstance(value, Real) or not 0 < value < math.inf:
            raise ValueError(f"{name} must be a positive number; got {name}={value!r}")


def described(value: object) -> str:
    """A value for a message: tensors and arrays by shape and dtype.

    Examples
    --------
    >>> described((torch.ones(2, 3), 7))
    'tuple of (Tensor (2, 3) float32, 7)'
    """
    kind = type(value).__name__
    if isinstance(value, (tuple, list)):
        return f"{kind} of ({', '.join(map(described, value[:6]))})"
    if hasattr(value, "dtype"):
        return f"{kind} {tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    return repr(value) if isinstance(value, (str, Real, type(None))) else kind


def reason(error: BaseException) -> str:
    """What an exception says, in one line; its kind where it says nothing."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def check_values(what: str, value) -> None:
    """ValueError for inputs without a single entry, on the meta device, or with NaN or infinity.

    A mask that is added, of zeros and −∞ alone, passes.

    Parameters
    ----------
    what : str
        What it is, for the message.
    value : tensor, tuple, dict
        Inputs of a forward, or a batch.
    """
    tensors = list(leaves(value))
    if not any(x.numel() and not x.is_meta for x in tensors):
        raise ValueError(f"{what} holds no values: {described(value)}; give at least one sample")
    for x in tensors:
        if x.dtype in RANKED and x.layout is torch.strided and not x.is_meta:
            bad = int((~x.isfinite()).sum())
            if bad and not ((x == 0) | (x == -math.inf)).all():
                raise ValueError(f"{what} has {bad} entries that are NaN or infinite, in {described(x)}")


def arguments(example) -> tuple[tuple, dict]:
    """A tensor, a tuple of them, or a dict of named inputs, as positional and named arguments.

    A dict is passed by name where the names are the forward's; ValueError if no tensor is in it, or NaN.
    """
    if not list(leaves(example)):
        raise ValueError(f"example must be a tensor, or a tuple or dict of tensors; got {described(example)}")
    check_values("the example", example)
    if isinstance(example, Mapping):
        return (), dict(example)
    return (tuple(example), {}) if isinstance(example, (tuple, list)) else ((example,), {})


@contextlib.contextmanager
def running(model: nn.Module, *examples) -> Iterator[None]:
    """Where the work inside fails, and the model alone does not run on an example either, a ValueError says so.

    Parameters
    ----------
    model : nn.Module
        The network; it is left as it was.
    *examples : tensor, tuple or dict
        Inputs of its forward.
    """
    try:
        yield
    except Exception as failed:
        for example in examples:
            positional, named = arguments(example)
            try:
                with torch.random.fork_rng(), torch.no_grad(), untouched(model):
                    model.eval()(*positional, **named)
            except Exception as error:
                why = f"the model does not run on {described(example)}; an example is one batch"
                raise ValueError(f"{why}: {reason(error)}") from error
        if "HigherOrderOperator" in str(failed):
            why = "only torch's compiler sees into parts such as torch.cond; write them with if, for or while"
            raise ValueError(f"{why}: {reason(failed)}") from failed
        raise


def check_data(who: str, batches, loss: Callable | None = None) -> None:
    """ValueError for what holds no batches (a tensor, a data set, one pair alone), and for a loss that is no function.

    Parameters
    ----------
    who : str
        The function or method that reads them.
    batches : iterable
        (input, target) pairs.
    loss : Callable, optional
        loss(output, target).
    """
    wrong = isinstance(batches, (Tensor, Mapping, str)) or not hasattr(batches, "__iter__") or batches == []
    # A tuple of tensors may be inputs alone, but inputs have as many axes each
    pair = isinstance(batches, tuple) and len({one.dim() for one in batches if isinstance(one, Tensor)}) > 1
    if wrong or pair:
        wanted = "a list or DataLoader of (inputs, targets), such as [(x, y)]"
        raise ValueError(f"{who} reads data: batches must be {wanted}; got {described(batches)}")
    if loss is not None and not callable(loss):
        raise ValueError(f"loss must be a function loss(output, target), such as F.mse_loss; got {loss!r}")


def choose(names: Sequence[str], patterns: Sequence[str] | None) -> list[str]:
    """The names that match any of the patterns, in their order.

    Parameters
    ----------
    names : Sequence[str]
        All names there are.
    patterns : Sequence[str] | None
        names, prefixes or shell patterns; all names if None.

    Raises
    ------
    ValueError
        For a pattern that matches no name; the text has near matches (B40).
    """
    if patterns is None:
        return list(names)
    found: set[str] = set()
    for pattern in patterns:
        bare = pattern.removeprefix("module.").removeprefix("_orig_mod.")
        hits = fnmatch.filter(names, bare) + [n for n in names if n.startswith(bare + ".")]
        if not hits:
            near = difflib.get_close_matches(bare, names, 5, 0.4) or list(names)[:8]
            raise ValueError(f"{pattern!r} matches no prunable layer; near: {', '.join(near)}")
        found |= set(hits)
    return [name for name in names if name in found]


def layer_seed(seed: int, name: str) -> int:
    """A seed for each layer that depends on nothing but the run's seed and the layer's name (case B55).

    Parameters
    ----------
    seed : int
        Seed of the run.
    name : str
        Name of the layer.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:4], "big")
