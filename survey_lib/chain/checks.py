"""What a caller passed, checked before any work: numbers, examples, batches, and models that do not run."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral, Real

import torch
from torch import Tensor, nn

from survey_lib.chain.copies import RANKED, leaves, untouched


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
        raise ValueError(
            f"example must be a tensor, a tuple of tensors or a dict of named inputs; got {described(example)}"
        )
    check_values("the example", example)
    if isinstance(example, Mapping):
        return (), dict(example)
    return (tuple(example), {}) if isinstance(example, (tuple, list)) else ((example,), {})


@contextmanager
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
                raise ValueError(
                    f"the model does not run on {described(example)}; an example is one batch, as forward takes it: "
                    f"{reason(error)}"
                ) from error
        if "HigherOrderOperator" in str(failed):
            raise ValueError(
                "the forward has a part that only torch's compiler sees into, such as torch.cond; write it with if, "
                f"for or while: {reason(failed)}"
            ) from failed
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
        raise ValueError(
            f"{who} reads data: batches must be a list or DataLoader of (inputs, targets), such as [(x, y)]; "
            f"got {described(batches)}"
        )
    if loss is not None and not callable(loss):
        raise ValueError(f"loss must be a function loss(output, target), such as F.mse_loss; got {loss!r}")
