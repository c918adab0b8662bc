"""What every notebook starts with: one call for the profile, one for a study's results."""

import ast
import base64
import io
import os
import warnings
from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import pandas as pd
import torch
from IPython import get_ipython
from IPython.display import HTML, Markdown, display
from PIL import Image

from survey_lib.analysis.tables import finished, study_card
from survey_lib.charts.plots import house_style
from survey_lib.experiment.sweeps import sweep
from survey_lib.lookup import known

PROFILES = ("published", "quick", "full")
SLIDER = """<figure><label>{name} <input type="range" max="{last}" value="0" autocomplete="off"
 data-steps="{steps}" data-frames="{frames}" oninput="const at = (what) => this.dataset[what].split(' ')[this.value];
 this.nextElementSibling.value = at('steps');
 this.closest('figure').querySelector('img').src = 'data:image/png;base64,' + at('frames')">
 <output>{step}</output></label><br><img src="data:image/png;base64,{frame}" alt="{name} {step}"></figure>"""


def begin(profile: str) -> None:
    """Check the profile, fix threads and seed, set the house style.

    published: read committed results (under a minute). full: compute what is missing first. quick: compute a
    small part of each study; where a lesson asserts what only the whole study shows, it says so and goes on.

    Raises
    ------
    ValueError
        For any other name, before any work.
    """
    known("profile", profile, PROFILES)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    house_style()
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    if shell := get_ipython():
        shell.ast_transformers = [_Saying()] if profile == "quick" else []


class _Saying(ast.NodeTransformer):
    """Makes the cells that follow say which assertion does not hold, where they would stop."""

    def visit_Assert(self, node: ast.Assert) -> ast.Try:
        said = (
            f"Profile quick: this does not hold here: {ast.unparse(node.test)}. A small study may not show it; "
            "where your code is compared with the library's, it is a mistake."
        )
        caught = ast.parse("(AssertionError, LookupError, ValueError)", mode="eval").body
        handler = ast.ExceptHandler(caught, None, ast.parse(f"print({said!r})").body)
        return ast.copy_location(ast.Try([node], [handler], [], []), node)


def study(name: str, profile: str) -> pd.DataFrame:
    """Finished runs of a study, one row each.

    These are the published ones, or those of this machine once computed. Variants of a method (magnitude
    layerwise and global) share its name; `tables.distinct` names them apart.

    Parameters
    ----------
    name : str
        Name of the study.
    profile : str
        Quick or full.

    Raises
    ------
    ValueError
        Where there are no runs; the text says how to get them.
    """
    if profile == "published":
        return finished(name, local=False)
    sweep.sweep(name, profile, jobs=os.cpu_count() or 1)
    return finished(name, local=True, profile=profile)


def card(runs: pd.DataFrame) -> None:
    """Show what a reader must know to judge a figure of these runs: data, network, recipe, seeds, sampling error."""
    display(Markdown(study_card(runs)))


def slider(draw: Callable[[float], object], **values: Sequence[float]) -> HTML:
    """A picture with a slider: `slider(look, filter=range(16))` shows the figure that `look(filter)` draws.

    All frames are drawn at once and are part of the output, so that the slider needs no kernel: it works on
    the site.

    Parameters
    ----------
    draw : Callable[[float], object]
        Draws a figure of one value.
    **values : Sequence[float]
        The values, under the name that stands beside the slider.
    """
    ((name, steps),) = values.items()
    frames = [_frame(draw, step) for step in steps]
    shown = [f"{step:g}" for step in steps]
    lists = {"steps": " ".join(shown), "frames": " ".join(frames)}
    return HTML(SLIDER.format(name=name, last=len(steps) - 1, step=shown[0], frame=frames[0], **lists))


def _frame(draw: Callable[[float], object], step: float) -> str:
    """The current figure after `draw(step)`, as a PNG of 64 colours in base 64."""
    draw(step)
    full, small = io.BytesIO(), io.BytesIO()
    plt.gcf().savefig(full, dpi=100)  # `plt.savefig` would draw everything once more
    plt.close()
    Image.open(full).convert("RGB").quantize(64).save(small, "png", optimize=True)
    return base64.b64encode(small.getvalue()).decode()
