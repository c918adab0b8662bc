"""Whether a change of the code changed a result: twelve small runs to the last bit, and the data of all figures.

    python benchmarks/baseline.py --write     # before the change: write baseline.json
    python benchmarks/baseline.py             # after it: name every difference, exit status 1 if there is one

Runs are compared exactly, which holds on one machine only; the data of figures come from published results.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt

from survey_lib.experiment.runs.config import STORIES, RunConfig
from survey_lib.experiment.runs.run import run
from survey_lib.figures.catalogue import FIGURES, drawn

STORED = Path(__file__).with_suffix(".json")
DENSE = {"data": "digits", "model": "lenet-300-100", "epochs": 2, "recovery_epochs": 1, "batch_size": 64}
CONV = DENSE | {"model": "resnet-8", "epochs": 1, "rewind_epoch": 0}
LANGUAGE = {"data": STORIES, "model": STORIES, "recovery": "none"}
RUNS = {
    "dense": DENSE,
    "weight, iterative": DENSE
    | {"method": "magnitude", "sparsity": 0.9, "schedule": "iterative", "rounds": 2},
    "weight, solved": DENSE | {"method": "obs", "sparsity": 0.7},
    "lottery ticket": DENSE
    | {"method": "magnitude", "sparsity": 0.8, "scope": "global", "recovery": "rewind"},
    "before training": DENSE | {"method": "snip", "sparsity": 0.9},
    "during training": DENSE | {"method": "rigl", "sparsity": 0.8},
    "pattern": DENSE | {"method": "nm-magnitude:2:4", "sparsity": 0.5},
    "filter": CONV | {"method": "l1-filter", "sparsity": 0.5},
    "channel": CONV | {"method": "group-norm", "sparsity": 0.5},
    "channel, reconstructed": CONV | {"method": "thinet", "sparsity": 0.3},
    "depth": CONV | {"method": "block-influence", "sparsity": 0.34},
    "language": LANGUAGE | {"method": "wanda", "sparsity": 0.5},
}


def digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def measured() -> Iterator[tuple[str, object]]:
    """Name -> metrics and sparsity of a run, or the hash of a figure's data (or why it is not drawn)."""
    with tempfile.TemporaryDirectory() as cache:
        for name, fields in RUNS.items():
            record = run(RunConfig(**fields), cache)
            yield f"run: {name}", {field: record[field] for field in ("metrics", "sparsity")}
            yield f"layers: {name}", digest(record["layers"])
    for name in FIGURES:
        try:
            yield f"figure: {name}", digest(drawn(name)[0].data.to_json(orient="split", double_precision=10))
        except ValueError as refusal:
            yield f"figure: {name}", str(refusal)
        plt.close("all")


def main() -> int:
    found = json.loads(json.dumps(dict(measured())))
    if "--write" in sys.argv:
        STORED.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        return 0
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    different = [name for name in sorted({*found, *stored}) if found.get(name) != stored.get(name)]
    print(*[f"differs: {name}" for name in different] or [f"all {len(stored)} are equal"], sep="\n")
    return bool(different)


if __name__ == "__main__":
    sys.exit(main())
