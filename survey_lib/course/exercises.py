"""Exercises that check themselves."""

import copy
from collections.abc import Callable
from functools import wraps
from textwrap import shorten

import numpy as np

RIGHT = "Right."
TOLERANCE = 1e-5  # of numbers, arrays and tensors, relative and absolute


def _printed(verdict: Callable[..., str]) -> Callable[..., None]:
    """A check that prints its verdict; `check.verdict` returns it."""

    @wraps(verdict)
    def check(*args: object, **named: object) -> None:
        print(verdict(*args, **named))

    check.verdict = verdict
    return check


@_printed
def check_function(
    answer: Callable,
    oracle: Callable,
    draw: Callable[[np.random.Generator], tuple],
    hint: str = "",
    trials: int = 5,
) -> str:
    """Compare a function with an independent one on random inputs, and print whether it is right.

    The first trial that differs is shown, without the right answer. Neither function may change its
    arguments: each gets a copy of its own.

    Parameters
    ----------
    answer : Callable
        The student's function.
    oracle : Callable
        The independent one.
    draw : Callable[[np.random.Generator], tuple]
        Returns the arguments of one trial from a random generator.
    hint : str, default ''
        Is printed beside a wrong one.
    trials : int, default 5
        Number of trials.

    Examples
    --------
    >>> check_function(lambda x: x + x, lambda x: 2 * x, lambda rng: (rng.normal(size=3),))
    Right.
    """
    for trial in range(trials):
        arguments = draw(np.random.default_rng(trial))
        got, problem = _called(answer, *copy.deepcopy(arguments))
        if not problem and not _same(got, oracle(*copy.deepcopy(arguments))):
            given, returned = (shorten(repr(one), 120, placeholder="...") for one in (arguments, got))
            problem = f"for the input {given} your function returns {returned}, which is not right"
        if problem:
            return _line(problem, hint)
    return RIGHT


@_printed
def check_all(claims: dict[str, Callable[[], bool]], hint: str = "") -> str:
    """Print `Right.` if all claims hold, or the first that does not.

    For open tasks, whose answers differ.

    Parameters
    ----------
    claims : dict[str, Callable[[], bool]]
        Claim -> whether it holds.
    hint : str, default ''
        Is printed beside a wrong one.

    Examples
    --------
    >>> check_all({"the network keeps at most half of its weights": lambda: 40 <= 50})
    Right.
    >>> check_all({"at least one weight is left": lambda: 0 > 0})
    Not yet: it does not hold that at least one weight is left.
    """
    for claim, holds in claims.items():
        got, problem = _called(holds)
        if problem or not got:
            return _line(problem or f"it does not hold that {claim}", hint)
    return RIGHT


def _called(answer: Callable, *arguments: object) -> tuple[object, str]:
    """What a call returns, and what is wrong with it."""
    try:
        got = answer(*arguments)
    except NotImplementedError:
        return None, "replace `raise NotImplementedError` with your code"
    except Exception as error:
        return None, f"your code raised {type(error).__name__}: {error}"
    if got is None:
        return None, "your function returned nothing; does it end in `return`?"
    return got.detach() if hasattr(got, "detach") else got, ""  # tensors may still carry gradients


def _line(problem: str, hint: str) -> str:
    end = "" if problem.endswith("?") else "."
    return f"Not yet: {problem}{end}" + (f" Hint: {hint}." if hint else "")


def _same(got: object, expected: object) -> bool:
    if isinstance(expected, str | set | dict):
        return got == expected
    try:
        first, second = np.asarray(got, dtype=float), np.asarray(expected, dtype=float)
    except (TypeError, ValueError):
        return got == expected
    return first.shape == second.shape and np.allclose(first, second, TOLERANCE, TOLERANCE, equal_nan=True)
