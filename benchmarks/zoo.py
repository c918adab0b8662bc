"""Networks of five libraries, cut at 10, 30 and 50 percent: is the cut exact, what is fixed, what it costs.

    python benchmarks/zoo.py [MODEL ...]

Every classification family of torchvision, and with `pip install -e '.[zoo]'` models of timm, transformers,
segmentation_models_pytorch and ultralytics; those of a library that is not installed are named and left out. Writes
zoo.csv (one row a model and sparsity) beside this file; rows of models that are not named stay. Weights (unit gain) and
kept sets are random (seed 0). Seconds are processor time. Each model runs in a process of its own, so that peak memory
is its own.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import resource
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import torch

from survey_lib.chain import masks
from survey_lib.chain.coupling import group_masks, trace
from survey_lib.chain.surgery import cut as surgery
from survey_lib.chain.surgery import float64
from survey_lib.chain.surgery.plan import replay
from survey_lib.lookup import known

MODELS = """alexnet vgg11_bn resnet18 resnet50 resnext50_32x4d wide_resnet50_2 squeezenet1_1 densenet121 googlenet
inception_v3 mobilenet_v2 mobilenet_v3_small mnasnet0_5 shufflenet_v2_x0_5 efficientnet_b0 efficientnet_v2_s
regnet_x_400mf regnet_y_400mf convnext_tiny vit_b_16 swin_t swin_v2_t maxvit_t
timm:resnet26 timm:resnetv2_50 timm:mobilenetv3_small_100 timm:efficientnet_lite0 timm:convnextv2_atto timm:regnety_002
timm:ghostnet_100 timm:hrnet_w18_small timm:dla34 timm:mobilevit_xxs timm:edgenext_xx_small timm:repvgg_a0
timm:vit_tiny_patch16_224 timm:poolformer_s12 timm:mixer_s32_224 timm:lcnet_050 timm:fbnetc_100 timm:cspresnet50
transformers:ResNetForImageClassification transformers:ViTForImageClassification transformers:ConvNextForImageClassification
transformers:MobileNetV2ForImageClassification transformers:BertForSequenceClassification
transformers:DistilBertForSequenceClassification transformers:LlamaForCausalLM
segmentation_models_pytorch:Unet segmentation_models_pytorch:DeepLabV3Plus segmentation_models_pytorch:FPN
ultralytics:yolov8n.yaml ultralytics:yolo11n.yaml""".split()
SMALL = {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4}
SMALL |= {"dim": 192, "hidden_dim": 512, "n_layers": 4, "n_heads": 4, "vocab_size": 1000}  # DistilBert's
SPARSITIES = (0.1, 0.3, 0.5)
HERE = Path(__file__).parent


def load(name: str) -> tuple[torch.nn.Module, object]:
    """The model with random weights, and an example of its input."""
    library, _, kind = name.rpartition(":")
    module = importlib.import_module(library or "torchvision")
    image = torch.randn(1, 3, 224, 224)
    if library == "transformers":
        config = getattr(module, kind.partition("For")[0] + "Config")
        if kind.endswith("ImageClassification"):
            return getattr(module, kind)(config()), image
        return getattr(module, kind)(config(**SMALL)), {"input_ids": torch.randint(0, 1000, (1, 16))}
    if library == "ultralytics":
        return importlib.import_module("ultralytics.nn.tasks").DetectionModel(kind, verbose=False), image
    if library == "segmentation_models_pytorch":
        return getattr(module, kind)("mobilenet_v2", encoder_weights=None), image
    if library == "timm":
        return module.create_model(kind), image
    size = 299 if kind == "inception_v3" else 224
    return module.models.get_model(kind, weights=None), torch.randn(1, 3, size, size)


def run(model: torch.nn.Module, example: object) -> None:
    with torch.no_grad():
        model(**example) if isinstance(example, dict) else model(example)


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
    dense.load_state_dict(surgery.random_values(model), strict=False)
    with torch.no_grad():
        for parameter, gain in surgery.gains(dense).items():
            dense.get_parameter(parameter).mul_(gain)
    masked = masks.masked_copy(dense, group_masks(dense, coupling, result.keep))
    over_kept = float64.OverKept(masked, coupling, result.keep) if result.over_kept else None
    checked = surgery.Check(model, coupling, (example,))
    assert not checked.problem(result.keep)
    small, ((inputs,),) = replay(dense, result.plan), checked.inputs
    pairs = zip(float64.run(masked, inputs, over_kept=over_kept), float64.run(small, inputs), strict=True)
    return max(surgery.error(a, b) for a, b in pairs)


def rows(name: str) -> list[dict]:
    """One row a sparsity; trace time is the median of three."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    model, example = load(name)
    model.eval()
    run(model, example)
    times = []
    for _ in range(3):
        start = time.process_time()
        coupling = trace(model, example)
        times.append(time.process_time() - start)
    found = []
    for sparsity in SPARSITIES:
        result = surgery.cut(model, coupling, random_keep(coupling, sparsity), example)
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
                "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
                "fixed": "; ".join(
                    f"{layer}: {why}" for layer, why in [*result.refused, *coupling.fixed.items()]
                ),
            }
        )
    return found


def main(names: list[str]) -> None:
    old = pd.read_csv(HERE / "zoo.csv") if names else pd.DataFrame(columns=["model"])
    for name in [known("model", name, MODELS) for name in names] or MODELS:
        library = name.rpartition(":")[0] or "torchvision"
        if not importlib.util.find_spec(library):
            print(f"{name}: left out, {library} is not installed")
            continue
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            found = pd.DataFrame(pool.submit(rows, name).result())
        print(found.iloc[-1].to_dict(), flush=True)
        old = pd.concat([old[old.model != name], found])
        order = old.model.map(MODELS.index)
        old.iloc[order.argsort(kind="stable")].to_csv(HERE / "zoo.csv", index=False, lineterminator="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
