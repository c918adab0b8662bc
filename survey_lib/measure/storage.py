"""What a model takes on disk: real bytes of its weights in dense and sparse formats, and ONNX files (extra `deploy`)."""

import logging
import math
import warnings
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from torch.export import Dim

from survey_lib.chain.inputs import duplicate, untouched, unwrap
from survey_lib.chain.patterns import parse, to_matrix
from survey_lib.measure.counts import effective, weight_names

PARITY = 1e-4  # largest difference to eager, relative to the largest output


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
    encoders = {"dense": dense, "csr": csr, "bitmask": bitmask, pattern: partial(n_of_m, pattern=pattern)}
    raw = {name: sum(len(encode(array)) for array in arrays) for name, encode in encoders.items()}
    return pd.DataFrame({"raw": raw}).rename_axis("format")


class OnnxModel(nn.Module):
    """An ONNX file behind a forward, so that it is timed and compared like a torch model."""

    def __init__(self, path: str | Path, threads: int = 1):
        super().__init__()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.inputs = [one.name for one in self.session.get_inputs()]

    def forward(self, *inputs: Tensor) -> Tensor:
        """The first output."""
        named = {name: x.numpy() for name, x in zip(self.inputs, inputs, strict=True)}
        return torch.from_numpy(self.session.run(None, named)[0])


def export_onnx(model: nn.Module, example: Tensor, path: str | Path) -> dict:
    """Write a model as an ONNX file and check it against eager on other values.

    The file is made by torch's dynamo exporter.

    Parameters
    ----------
    model : nn.Module
        Any model; left as found.
    example : Tensor
        (n, ...); its batch axis stays free where the model allows.
    path : str | Path
        The file to write.

    Returns
    -------
    dict
        path, bytes of the file, and error: the largest difference relative to the largest output.

    Raises
    ------
    ValueError
        If the error is above 1e-4 or the model returns anything but one tensor; no file is left then.
    """
    still = duplicate(unwrap(model)).eval().requires_grad_(False)
    # An axis of 1 would be taken as fixed
    pair = example if len(example) > 1 else torch.cat([example, example])
    other = torch.randn(pair.shape, generator=torch.Generator().manual_seed(1)).to(pair.dtype)
    with torch.no_grad(), untouched(model):
        expected = still(other)
    if not isinstance(expected, Tensor):
        raise ValueError(f"the model returns a {type(expected).__name__}; wrap it to return the one tensor")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            free = ({0: Dim.AUTO},)
            torch.onnx.export(
                still, (pair,), path, dynamo=True, verbose=False, external_data=False, dynamic_shapes=free
            )
        error = float((OnnxModel(path)(other) - expected).abs().max() / expected.abs().max().clamp(min=1e-30))
        if not error <= PARITY:
            apart = f"{error:.1e} of the largest output, allowed {PARITY:g}"
            raise ValueError(f"ONNX Runtime and eager differ by {apart}; {path} was not kept")
    except BaseException:
        Path(path).unlink(missing_ok=True)
        raise
    return {"path": Path(path), "bytes": Path(path).stat().st_size, "error": error}


def quantize_onnx(source: str | Path, path: str | Path, batches: Iterable[Tensor] | None = None) -> Path:
    """Write an ONNX file again with int8 weights.

    Static weights keep 7 bits: without VNNI instructions sums of 8-bit products overflow, which was measured
    as five times the error. Neither way trains, so check the accuracy of the result.

    Parameters
    ----------
    source : str | Path
        Path of the ONNX file.
    path : str | Path
        The file to write.
    batches : Iterable[Tensor], optional
        examples, on which the ranges of the activations are measured and stored (static, as pairs
        QuantizeLinear and DequantizeLinear): what int8 kernels for convolutions work on; without them
        activations are quantized as they come (dynamic).

    Returns
    -------
    Path
        The file.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic, quantize_static

    root, level = logging.getLogger(), logging.getLogger().level
    root.setLevel(logging.ERROR)  # it advises a pre-processing that changes nothing here
    try:
        if batches is None:
            quantize_dynamic(str(source), str(path), weight_type=QuantType.QUInt8)
        else:
            name = OnnxModel(source).inputs[0]
            feeds = iter([{name: batch.numpy()} for batch in batches])
            reader = SimpleNamespace(get_next=lambda: next(feeds, None))  # None ends the calibration
            quantize_static(str(source), str(path), reader, per_channel=True, reduce_range=True)
    finally:
        root.setLevel(level)
    return Path(path)
