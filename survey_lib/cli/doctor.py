"""What `survey doctor` finds; imported only when it runs, since it brings torch."""

import os
import platform

import pandas as pd
import torch

from survey_lib.experiment.data import loaders
from survey_lib.experiment.runs import record
from survey_lib.repository import versions

PACKAGES = (*record.PACKAGES, "pandas", "matplotlib", "papermill", "distributed", "onnxruntime")


def examine() -> pd.DataFrame:
    """Versions, threads, data sets and results of this installation, a row each."""
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    rows = {
        "python": f"{platform.python_version()} on {platform.platform()}",
        **{name: found or "not installed" for name, found in versions(PACKAGES).items()},
        "processor": f"{os.cpu_count()} cores, {torch.get_num_threads()} torch threads",
        "accelerator": accelerator,
        "data folder": f"{loaders.folder()} (SURVEY_DATA chooses another)",
        **{f"data {name}": _found(name) for name in loaders.SOURCES},
    }
    return pd.DataFrame({"what": rows.keys(), "found": rows.values()})


def _found(name: str) -> str:
    try:
        read = loaders.load(name)
    except (FileNotFoundError, ValueError) as error:
        return "not found; " + str(error).partition("Ways to get it:\n")[2].strip().splitlines()[0]
    return f"{len(read.train[1]):,} / {len(read.validation[1]):,} / {len(read.test[1]):,} images"
