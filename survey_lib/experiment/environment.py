"""Where a run happens: versions, machine, commit, and the settings under which equal runs have equal bits."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from survey_lib.measure import machine
from survey_lib.repository import commit, versions

PACKAGES = ("survey_lib", "torch", "torchvision", "numpy", "scikit-learn")


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one torch thread, so that sums are added in one order whoever calls.

    On a GPU, convolutions take their deterministic algorithms, in full float32.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_num_threads(before)


def environment(device: str = "cpu") -> dict:
    """Versions, threads, machine and commit, for the record of a run."""
    return {
        "python": platform.python_version(),
        **versions(PACKAGES),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "machine": machine(device),
        "commit": commit(),
    }
