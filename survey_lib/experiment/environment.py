"""Where a run happens: versions, machine, commit, and one thread for equal bits."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version

import torch

from survey_lib.experiment.data.sources import REPOSITORY
from survey_lib.measure import machine

PACKAGES = ("survey_lib", "torch", "torchvision", "numpy", "scikit-learn")


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one torch thread, so that sums are added in one order whoever calls."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def environment(device: str = "cpu") -> dict:
    """Versions, threads, machine and commit, for the record of a run."""
    versions = {name: version(name) for name in PACKAGES}
    return {"python": platform.python_version(), **versions, "threads": torch.get_num_threads(),
            "platform": platform.platform(), "machine": machine(device), "commit": commit()}  # fmt: skip


@cache
def commit() -> str:
    """The repository's commit, `-changed` when package files differ from it; empty outside a repository."""
    if not (REPOSITORY / "survey_lib").is_dir():  # an installed package in a folder of somebody else
        return ""
    git = ["git", "-C", str(REPOSITORY)]
    try:
        head = subprocess.check_output(
            [*git, "rev-parse", "--short=12", "HEAD"], text=True, stderr=subprocess.DEVNULL
        )
        changed = subprocess.call([*git, "diff", "--quiet", "HEAD", "--", "survey_lib"])
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.strip() + ("-changed" if changed else "")
