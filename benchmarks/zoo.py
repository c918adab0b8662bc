"""Every classification family of torchvision, cut at 10, 30 and 50 percent: is the cut exact, what is fixed, what it costs.

    python benchmarks/zoo.py [MODEL ...]

Writes zoo.csv (one row a model and sparsity) and zoo.md beside this file. Weights and kept sets are random
(seed 0). Each model runs in a process of its own, so that peak memory is its own.
"""

from __future__ import annotations

import copy
import resource
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import torch
import torchvision

from survey_lib.chain import masks
from survey_lib.chain.coupling import group_masks, trace
from survey_lib.chain.surgery import masked_norms, verify
from survey_lib.chain.surgery.cut import cut, replay

MODELS = """alexnet vgg11_bn resnet18 resnet50 resnext50_32x4d wide_resnet50_2 squeezenet1_1 densenet121 googlenet
inception_v3 mobilenet_v2 mobilenet_v3_small mnasnet0_5 shufflenet_v2_x0_5 efficientnet_b0 efficientnet_v2_s
regnet_x_400mf regnet_y_400mf convnext_tiny vit_b_16 swin_t swin_v2_t maxvit_t""".split()
SPARSITIES = (0.1, 0.3, 0.5)
HERE = Path(__file__).parent


def peak_memory() -> float:
    """Largest resident set of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def parameters(model) -> int:
    return sum(p.numel() for p in model.parameters())


def random_keep(coupling, sparsity: float) -> dict[str, torch.Tensor]:
    draw, keep = torch.Generator().manual_seed(0), {}
    for group in coupling.groups:
        removed = min(round(sparsity * group.size), group.size - 1)
        keep[group.name] = torch.rand(group.size, generator=draw).argsort().argsort() >= removed
    return keep


def largest_error(model, coupling, result, example) -> float:
    """max |masked − cut| / max |masked| in float64 on another batch and, where the model takes it, another size."""
    dense = copy.deepcopy(model).double()
    dense.load_state_dict(verify.random_values(model), strict=False)
    masked = masks.masked_copy(dense, group_masks(dense, coupling, result.keep))
    over_kept = masked_norms.OverKept(masked, coupling, result.keep) if result.over_kept else None
    checked = verify.Check(model, coupling, example)
    assert not checked.problem(result.keep)
    small, (inputs,) = replay(dense, result.plan), checked.inputs
    pairs = zip(verify.run(masked, inputs, over_kept=over_kept), verify.run(small, inputs), strict=True)
    return max(verify.error(a, b) for a, b in pairs)


def rows(name: str) -> list[dict]:
    """One row a sparsity; trace time is the median of three."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    model = torchvision.models.get_model(name, weights=None).eval()
    size = 299 if name == "inception_v3" else 224
    example, times = torch.randn(1, 3, size, size), []
    with torch.no_grad():
        model(example)
    before = peak_memory()
    for _ in range(3):
        start = time.perf_counter()
        coupling = trace(model, example)
        times.append(time.perf_counter() - start)
    added = peak_memory() - before
    found = []
    for sparsity in SPARSITIES:
        start = time.perf_counter()
        result = cut(model, coupling, random_keep(coupling, sparsity), example)
        seconds = time.perf_counter() - start
        found.append(
            {
                "model": name,
                "sparsity": sparsity,
                "groups": len(coupling.groups),
                "channels": sum(group.size for group in coupling.groups),
                "parameters_before": parameters(model),
                "parameters_after": parameters(result.model),
                "masked_equals_cut": "over kept channels" if result.over_kept else "exact",
                "error": largest_error(model, coupling, result, example),
                "refused": len(result.refused),
                "trace_s": round(sorted(times)[1], 3),
                "trace_added_gb": round(added, 3),
                "cut_s": round(seconds, 2),
                "peak_gb": round(peak_memory(), 2),
                "fixed": "; ".join(f"{layer}: {why}" for layer, why in coupling.fixed.items()),
            }
        )
    return found


def markdown(table: pd.DataFrame) -> str:
    lines = [
        "# Coupled channels on torchvision's classification families",
        "",
        f"Made by `python benchmarks/zoo.py`; torch {torch.__version__}, one thread, 224 px (inception 299), random",
        "weights and random kept sets. Error: max |masked − cut| / max |masked| in float64. Peak: whole process.",
        "",
        "| model | groups | channels | sparsity: M parameters | masked against cut | largest error | trace s | trace GB "
        "| peak GB | fixed |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, part in table.groupby("model", sort=False):
        one = part.iloc[0]
        sizes = [f"{one.parameters_before / 1e6:.1f}"]
        sizes += [f"{row.sparsity}: {row.parameters_after / 1e6:.1f}" for row in part.itertuples()]
        fixed = [text for text in str(one.fixed).split("; ")]
        shown = "; ".join(fixed[:2]) + (f"; and {len(fixed) - 2} more" if len(fixed) > 2 else "")
        refused = f", {part.refused.max()} groups refused" if part.refused.max() else ""
        lines.append(
            f"| {name} | {one.groups} | {one.channels} | {', '.join(sizes)} | {part.masked_equals_cut.iloc[-1]}{refused} "
            f"| {part.error.max():.0e} | {one.trace_s} | {one.trace_added_gb} | {part.peak_gb.max()} | {shown} |"
        )
    return "\n".join(lines) + "\n"


def main(names: list[str]) -> None:
    found: list[dict] = []
    for name in names or MODELS:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            found += pool.submit(rows, name).result()
        print(found[-1], flush=True)
        table = pd.DataFrame(found)
        table.to_csv(HERE / "zoo.csv", index=False, lineterminator="\n")
        (HERE / "zoo.md").write_text(markdown(table), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
