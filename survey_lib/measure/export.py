"""ONNX files of a model, checked against it, and how they run (extra `deploy`)."""

import logging
import warnings
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.export import Dim

from survey_lib.chain.inputs import duplicate, untouched, unwrap

PARITY = 1e-4  # largest difference to eager, relative to the largest output


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
            raise ValueError(
                f"ONNX Runtime and eager differ by {error:.1e} of the largest output, allowed {PARITY:g}; "
                f"{path} was not kept"
            )
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
