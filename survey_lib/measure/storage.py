"""What zeros save on disk: real bytes of the same weights in dense and sparse formats."""

import math
from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from survey_lib.chain.patterns import parse, to_matrix
from survey_lib.measure.counts import effective, weight_names


def dense(matrix: np.ndarray) -> bytes:
    """Every entry, row by row."""
    return matrix.tobytes()


def csr(matrix: np.ndarray) -> bytes:
    """Compressed sparse rows: values, int32 column of each value, int32 start of each row."""
    rows = csr_matrix(matrix != 0)  # places only: scipy holds no float16
    places = [rows.indices.astype(np.int32), rows.indptr.astype(np.int32)]
    return b"".join(array.tobytes() for array in [matrix[matrix != 0], *places])


def bitmask(matrix: np.ndarray) -> bytes:
    """One bit an entry, then the non-zero values in order."""
    return np.packbits(matrix != 0).tobytes() + matrix[matrix != 0].tobytes()


def n_of_m(matrix: np.ndarray, pattern: str = "2:4") -> bytes:
    """N values of every M neighbours and ceil(log2 M) bits for the index of each value.

    This is how sparse tensor cores read them. A matrix that does not follow the pattern stays dense.

    Parameters
    ----------
    matrix : np.ndarray
        Matrix (out, in).
    pattern : str, default '2:4'
        Pattern N:M.
    """
    n, m = parse(pattern)
    if matrix.shape[1] % m or ((matrix != 0).reshape(-1, m).sum(1) > n).any():
        return dense(matrix)
    groups = matrix.reshape(-1, m)
    places = np.sort(np.argsort(groups == 0, axis=1, kind="stable")[:, :n], axis=1)
    bits = places[..., None] >> np.arange(max(1, math.ceil(math.log2(m)))) & 1
    return np.take_along_axis(groups, places, 1).tobytes() + np.packbits(bits.astype(bool)).tobytes()


FORMATS = {"dense": dense, "csr": csr, "bitmask": bitmask}


def sizes(model: nn.Module, masks: Mapping[str, Tensor] | None = None, pattern: str = "2:4") -> pd.DataFrame:
    """Bytes of a model's prunable weights as float32 in each format.

    The weights are really encoded and the bytes counted; index bytes included. CSR is smaller than dense only
    above about 50 % sparsity, the bit mask above 1/32.

    Parameters
    ----------
    model : nn.Module
        The network.
    masks : Mapping[str, Tensor], optional
        {tensor name: bool}, True = kept.
    pattern : str, default '2:4'
        The N:M of the last row.

    Returns
    -------
    pd.DataFrame
        `raw` bytes, one row a format: dense, csr, bitmask and the N:M `pattern`.

    Examples
    --------
    >>> table = sizes(nn.Linear(32, 32), {"weight": nn.Linear(32, 32).weight > 9})
    >>> int(table.loc["dense", "raw"]), int(table.loc["bitmask", "raw"])
    (4096, 128)
    """
    used = effective(model, masks)
    matrices = [to_matrix(used[n]).reshape(used[n].shape[0], -1) for n in weight_names(model, used, masks)]
    arrays = [np.ascontiguousarray(matrix.float().cpu().numpy()) for matrix in matrices]
    encoders = FORMATS | {pattern: partial(n_of_m, pattern=pattern)}
    raw = {name: sum(len(encode(array)) for array in arrays) for name, encode in encoders.items()}
    return pd.DataFrame({"raw": raw}).rename_axis("format")
