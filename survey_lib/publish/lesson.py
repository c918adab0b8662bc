"""What every notebook starts with: one call for the profile, one for a study's results."""

from __future__ import annotations

import os
import warnings

import pandas as pd
import torch
from IPython.display import Markdown

from survey_lib.experiment import store, sweep
from survey_lib.publish.plots import house_style

PROFILES = ("published", "quick", "full")


def begin(profile: str) -> None:
    """Check the profile, fix threads and seed, set the house style.

    published: read committed results (under a minute). quick, full: compute what is missing first.
    Raises ValueError for any other name, before any work.
    """
    if profile not in PROFILES:
        raise ValueError(f"profile must be one of {', '.join(PROFILES)}; got {profile!r}")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    house_style()
    warnings.filterwarnings("ignore", category=DeprecationWarning)


def study(name: str, profile: str) -> pd.DataFrame:
    """Results of a study, one row a run: the published ones, or those of this machine once computed."""
    if profile == "published":
        return store.results(name, local=False)
    sweep.sweep(name, profile, engine="joblib", jobs=os.cpu_count() or 1)
    return store.results(name, profile=profile)


def say(text: str) -> Markdown:
    """Text of a notebook whose numbers were computed: `say(f"magnitude keeps {accuracy:.1%}")`."""
    return Markdown(text)
