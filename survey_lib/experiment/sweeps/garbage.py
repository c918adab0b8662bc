"""A pause of the garbage collector while many records are made."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P, R = ParamSpec("P"), TypeVar("R")


def uncollected(call: Callable[P, R]) -> Callable[P, R]:
    """Run `call` without the collector, which would walk all rows made so far again and again (a third of the time)."""

    @functools.wraps(call)
    def paused(*args: P.args, **named: P.kwargs) -> R:
        running = gc.isenabled()
        gc.disable()
        try:
            return call(*args, **named)
        finally:
            if running:
                gc.enable()

    return paused
