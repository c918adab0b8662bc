"""Every classification family of torchvision, cut by half and exported to ONNX: is the file right, how large is it.

    python benchmarks/export.py [MODEL ...]

Writes export.csv beside this file; named models replace their rows. Weights are drawn (He, seed 0); the error is the largest difference between
ONNX Runtime and eager on other images, relative to the largest output. Each model runs in a process of its own.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import torch
import zoo

import survey_lib
from survey_lib.measure.export import export_onnx

MODELS = [name for name in zoo.MODELS if ":" not in name]
HERE = Path(__file__).parent


def row(name: str) -> dict:
    """File sizes in MB and the error of one cut model; what failed, where something did."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    model, example = zoo.load(name)
    model.eval()
    # As they come, googlenet forgets its input and vit_b_16 answers zero: no error would show
    for tensor in model.parameters():
        if tensor.dim() > 1:
            torch.nn.init.kaiming_normal_(tensor)
    result = survey_lib.prune(model, "l1-filter", 0.5, example=example)
    found = {"model": name, "dense_mb": sum(t.nbytes for t in model.state_dict().values()) / 1e6}
    with tempfile.TemporaryDirectory() as folder:
        saved = survey_lib.save(result, Path(folder) / "small.safetensors")
        found["safetensors_mb"] = saved.stat().st_size / 1e6
        try:
            done = export_onnx(result.model, torch.randn(2, *example.shape[1:]), Path(folder) / "small.onnx")
            found |= {"onnx_mb": done["bytes"] / 1e6, "error": done["error"], "failure": ""}
        except Exception as error:  # whatever the exporter refuses is the finding
            found["failure"] = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:120]}"
    return found


def main(names: list[str]) -> None:
    path = HERE / "export.csv"
    rows = (
        {one["model"]: one for one in pd.read_csv(path).to_dict("records")} if names and path.exists() else {}
    )
    for name in names or MODELS:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            rows[name] = pool.submit(row, name).result()
        print(rows[name], flush=True)
        table = pd.DataFrame([rows[model] for model in MODELS if model in rows])
        table.to_csv(path, index=False, float_format="%.3g", lineterminator="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
