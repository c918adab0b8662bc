"""Why a network is as slow as it is: each operator's time beside two measured limits of the machine.

attainable FLOP/s = min(peak, intensity · bandwidth),  intensity = FLOPs / bytes moved   (Williams et al.
2009)
"""

import time

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from survey_lib.chain.inputs import arguments
from survey_lib.eager import EagerMode
from survey_lib.measure.observe import Example, quiet
from survey_lib.measure.timing import WARM_UP

# Kind of operator by a part of its name
KINDS = {"convolution": "convolution", "mm": "linear", "norm": "norm", "pool": "pooling"}


class OperatorClock(EagerMode):
    """Notes time, FLOPs and bytes of each operator of a forward, in order.

    Views move nothing and are left out. FLOPs by torch's counter, two a multiply-add, and one an output entry
    where it has no rule. Bytes are the least that must be moved: every input and output tensor once.
    """

    def __init__(self):
        from torch.utils.flop_counter import flop_registry  # slow to import

        super().__init__()
        self._rules = flop_registry
        self.rows: list[tuple[str, int, int, float]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        start = time.perf_counter()
        result = func(*args, **(kwargs or {}))
        seconds = time.perf_counter() - start
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if read and not func.is_view:
            rule = self._rules.get(func._overloadpacket)
            flops = rule(*args, **(kwargs or {}), out_val=result) if rule else sum(t.numel() for t in made)
            moved = sum(tensor.nbytes for tensor in [*read, *made])
            self.rows.append((func._overloadpacket.__name__, flops, moved, seconds))
        return result


def operators(model: nn.Module, example: Example, repeats: int = 15) -> pd.DataFrame:
    """Time, FLOPs and bytes of each operator of the forward.

    Eval mode without gradients, after a warm-up; the model is left as found. On a CPU, where an operator is
    done when its call returns.

    Parameters
    ----------
    model : nn.Module
        The network.
    example : Example
        An input of its forward.
    repeats : int, default 15
        Runs of which the median is taken.

    Returns
    -------
    pd.DataFrame
        One row an operator, in order: operator, kind, flops, bytes and median seconds.

    Examples
    --------
    >>> table = operators(nn.Linear(8, 4), torch.ones(2, 8), repeats=3)
    >>> table[["kind", "flops", "bytes"]].values.tolist()  # 2·2·8·4; (16 + 32 + 4 + 8) entries of 4 bytes
    [['linear', 128, 240]]
    """
    positional, named = arguments(example)
    rounds = []
    with quiet(model):
        for _ in range(WARM_UP + repeats):
            with OperatorClock() as clock:
                model(*positional, **named)
            rounds.append(clock.rows)
    table = pd.DataFrame(rounds[-1], columns=["operator", "flops", "bytes", "seconds"])
    table["seconds"] = np.median([[row[3] for row in rows] for rows in rounds[WARM_UP:]], axis=0)
    found = table["operator"].str.extract(f"({'|'.join(KINDS)})", expand=False)
    table.insert(1, "kind", found.map(KINDS).fillna("elementwise"))
    return table


def ceilings(size: int = 2048, megabytes: int = 128) -> dict[str, float]:
    """The machine's two limits at one thread, measured.

    The best of seven, since a limit is not an average.

    Parameters
    ----------
    size : int, default 2048
        Rows and columns of the matrices.
    megabytes : int, default 128
        Size of each array; too large for any cache.

    Returns
    -------
    dict[str, float]
        `peak`: FLOP/s of a large matrix product; `bandwidth`: bytes/s of a sum of two arrays.

    Examples
    --------
    >>> sorted(ceilings(size=64, megabytes=1))
    ['bandwidth', 'peak']
    """
    from torch.utils.benchmark import Timer

    square = torch.rand(size, size)
    first, second, total = (torch.rand(megabytes * 2**18) for _ in range(3))
    calls = {
        "peak": ("torch.mm(a, a, out=c)", {"a": square, "c": torch.empty_like(square)}, 2 * size**3),
        "bandwidth": ("torch.add(a, b, out=c)", {"a": first, "b": second, "c": total}, 3 * first.nbytes),
    }
    best = {}
    for name, (statement, tensors, work) in calls.items():
        timer = Timer(statement, globals={"torch": torch, **tensors})
        best[name] = work / min(timer.timeit(1).median for _ in range(7))
    return best


def under_roof(table: pd.DataFrame, peak: float | pd.Series, bandwidth: float | pd.Series) -> pd.DataFrame:
    """The operators of `operators` beside the roofline of the two ceilings.

    Parameters
    ----------
    table : pd.DataFrame
        What `operators` returned.
    peak : float | pd.Series
        FLOP/s, one number or one a row.
    bandwidth : float | pd.Series
        bytes/s, one number or one a row.

    Returns
    -------
    pd.DataFrame
        The table with three more columns

        * intensity: FLOPs a byte
        * attained: FLOP/s
        * roof_s: max(flops / peak, bytes / bandwidth), the least time

    Examples
    --------
    >>> one = pd.DataFrame({"flops": [100.0], "bytes": [400.0], "seconds": [8.0]})
    >>> under_roof(one, peak=50, bandwidth=100)[["intensity", "attained", "roof_s"]].values.tolist()
    [[0.25, 12.5, 4.0]]
    """
    return table.assign(
        intensity=table["flops"] / table["bytes"],
        attained=table["flops"] / table["seconds"],
        roof_s=np.maximum(table["flops"] / peak, table["bytes"] / bandwidth),
    )
