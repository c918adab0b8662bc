"""From which sparsity on a sparse matrix product is faster than the dense one, on this machine."""

import warnings
from collections.abc import Callable

import pandas as pd
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from survey_lib.measure.timing import compare_latency

SPARSITIES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
BATCHES, ROUNDS = (1, 64), 7
BLOCK = 16  # MKL multiplies square blocks only


class Product(nn.Module):
    """x -> matrix · x, whatever the matrix is stored as."""

    def __init__(self, call: Callable[[Tensor], object]):
        super().__init__()
        self.call = call

    def forward(self, x: Tensor) -> object:
        """The product."""
        return self.call(x)


def formats(weight: Tensor, sparsity: float) -> dict[str, Product]:
    """Products with the same matrix, pruned at random, dense and in each sparse form that runs here.

    CSR by torch and by scipy holds single weights, BSR whole 16x16 blocks. torch's products are those of MKL, and
    are left out where it was built without. Its N:M form runs on GPUs only.

    Parameters
    ----------
    weight : Tensor
        (out, in), both multiples of 16.
    sparsity : float
        Fraction removed.
    """
    draw = torch.Generator().manual_seed(0)
    outputs, inputs = weight.shape
    single = weight * (torch.rand(weight.shape, generator=draw) >= sparsity)
    blocks = torch.rand(outputs // BLOCK, inputs // BLOCK, generator=draw) >= sparsity
    blocked = weight * blocks.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)
    scipy_rows = csr_matrix(single.numpy())
    products: dict[str, Callable[[Tensor], object]] = {
        "dense": lambda x: single @ x,
        "CSR (scipy)": lambda x: scipy_rows @ x.numpy(),
    }
    if torch.backends.mkl.is_available():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # sparse layouts are marked beta
            rows, squares = single.to_sparse_csr(), blocked.to_sparse_bsr((BLOCK, BLOCK))
        products |= {"CSR (torch)": lambda x: rows @ x, "BSR 16x16 (torch)": lambda x: squares @ x}
    return {name: Product(call) for name, call in products.items()}


def crossover(size: int = 1024, seconds: float = 0.1) -> pd.DataFrame:
    """Dense against sparse products of a size x size matrix with (size, batch), in turns on one thread.

    Parameters
    ----------
    size : int, default 1024
        Rows and columns of the matrix, a multiple of 16.
    seconds : float, default 0.1
        Time for all rounds of one kernel.

    Returns
    -------
    pd.DataFrame
        One row a batch, sparsity and kernel, with the columns of `compare_latency`; `ratio` below 1 is
        faster than dense.

    Examples
    --------
    >>> table = crossover(32, seconds=0.001)
    >>> table["kernel"][0], float(table["ratio"][0])
    ('dense', 1.0)
    """
    weight = torch.randn(size, size, generator=torch.Generator().manual_seed(0))
    tables = []
    for batch in BATCHES:
        x = torch.randn(size, batch, generator=torch.Generator().manual_seed(1))
        for sparsity in SPARSITIES:
            timed = compare_latency(formats(weight, sparsity), x, seconds=seconds, rounds=ROUNDS)
            tables.append(timed.assign(size=size, batch=batch, sparsity=sparsity))
    return pd.concat(tables, ignore_index=True).rename(columns={"model": "kernel"})
