"""Exercises that check themselves."""

import copy
from collections.abc import Callable
from textwrap import shorten

import numpy as np

RIGHT = "Right."
verdicts: list[str] = []  # of all checks so far, as printed
TOLERANCE = 1e-5  # of numbers, arrays and tensors, relative and absolute


def check_function(
    answer: Callable,
    oracle: Callable,
    draw: Callable[[np.random.Generator], tuple],
    hint: str = "",
    trials: int = 5,
) -> None:
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
            return _say(problem, hint)
    _say("")


def check_all(claims: dict[str, Callable[[], bool]], hint: str = "") -> None:
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
            return _say(problem or f"it does not hold that {claim}", hint)
    _say("")


def all_right(count: int) -> bool:
    """Whether the last checks, so many, came out right: what nbgrader asserts after them."""
    return verdicts[-count:] == [RIGHT] * count


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


def _say(problem: str, hint: str = "") -> None:
    end = "" if problem.endswith("?") else "."
    wrong = f"Not yet: {problem}{end}" + (f" Hint: {hint}." if hint else "")
    verdicts.append(wrong if problem else RIGHT)
    print(verdicts[-1])


def _same(got: object, expected: object) -> bool:
    if isinstance(expected, str | set | dict):
        return got == expected
    try:
        first, second = np.asarray(got, dtype=float), np.asarray(expected, dtype=float)
    except (TypeError, ValueError):
        return got == expected
    return first.shape == second.shape and np.allclose(first, second, TOLERANCE, TOLERANCE, equal_nan=True)
