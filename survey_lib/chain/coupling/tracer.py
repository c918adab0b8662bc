"""`trace`: the coupled channels of anyone's model."""

from __future__ import annotations

import contextlib

import torch
from torch import nn
from torch.utils import _pytree as pytree

from survey_lib.chain.coupling.grouping import Classes, coupling
from survey_lib.chain.coupling.groups import Coupling
from survey_lib.chain.coupling.readings import LabelledRun, ShapesRun
from survey_lib.chain.inputs import arguments, check_kind, running, untouched, unwrap
from survey_lib.chain.masks import reparametrised
from survey_lib.chain.surgery.resize import structure

Traced = tuple[LabelledRun, Classes]


def trace(model: nn.Module, example, *more) -> Coupling:
    """The coupled channels of a model, found by running it once on each example with labels beside every tensor.

    Ambiguous operations (a channel axis split in two, grouped convolution, group norm) are read the usual
    way first; where that leaves nothing to prune the run is repeated with the next reading. Parameters that
    evaluation does not use (auxiliary heads) are labelled in a second run in training mode.

    Parameters
    ----------
    model : nn.Module
        The network; it is left as it was.
    example : tensor, tuple or dict
        An input of the forward; at least two steps long where a recurrent layer reads it.
    *more : more inputs
        Each in the same form, for optional arguments, branches and experts that the first does not reach (case B69).

    Returns
    -------
    Coupling
        `print(coupling)` is a line a group, `print(coupling["conv1"])` a line a tensor of the group that holds the
        outputs of `conv1`; `fixed` says why layers cannot be pruned, `unseen` names parameters that the run did
        not use. `prune(..., coupling=coupling)` shares it between several cuts of this model.

    Raises
    ------
    ValueError
        For an example without a tensor or that the model does not run on, and for models without values that can
        be ranked (lazy, meta, int8, scripted).

    Examples
    --------
    >>> coupling = trace(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3)), torch.ones(1, 2))
    >>> coupling
    1 channel groups, 4 channels
    group  channels  tensors  written by  read by  over channels
    0      4         3        0           2
    fixed: 2 (reaches the model's output)
    >>> coupling["0"]
    group 0, 4 channels
    tensor    axis  channels  why
    0.weight  0     4         output, addmm in 0
    0.bias    0     4         addmm in 0, addmm in 2
    2.weight  1     4         input, addmm in 2
    """
    model = unwrap(model)
    check_kind(model)
    with untouched(model):
        return labelled(model, example, *more)


def labelled(model: nn.Module, example, *more) -> Coupling:
    """`trace` for a caller who puts back what a forward writes to the parameters.

    Parameters
    ----------
    model : nn.Module
        The network, without wrappers.
    example : tensor, tuple or dict
        An input of its forward.
    *more : more inputs
        Each in the same form.
    """
    inputs = [arguments(one) for one in (example, *more)]
    with torch.inference_mode(False), running(model, example, *more):
        best = _best(model, inputs)
    return coupling(*best)


def _best(model: nn.Module, inputs: list) -> Traced:
    """The run whose readings of ambiguous operations leave most to prune."""
    found = [_attempt(model, inputs, frozenset())]
    dead = found[0][1].dead
    if dead:
        found.append(_attempt(model, inputs, dead))
        choices = found[0][0].labels.choices
        stuck = {choices[number].module for number in dead & found[1][1].dead}
        if stuck:  # all that these modules read in two ways
            siblings = frozenset(n for n, choice in enumerate(choices) if choice.module in stuck)
            found.append(_attempt(model, inputs, dead | siblings))
    return min(found, key=lambda traced: len(traced[1].dead))


def _attempt(model: nn.Module, inputs: list, second: frozenset[int]) -> Traced:
    run = None
    with contextlib.suppress(Exception):  # the run with all values says what is wrong
        run = _ran(ShapesRun, model, inputs, second)
    if run is None or run.looked:
        run = _ran(LabelledRun, model, inputs, second)
    for name, why in reparametrised(run.model).items():
        for tensor in run.model.get_submodule(name).parameters():
            run.labels.fix_all(run.labels.axes(tensor), f"coupled to {name}: {why}")
    return run, Classes(run.labels)


def _ran(kind: type[LabelledRun], model: nn.Module, inputs: list, second: frozenset[int]) -> LabelledRun:
    """All inputs in evaluation mode, and the first in training mode too where that alone uses some parameters."""
    run = kind(structure(model), second)
    with torch.random.fork_rng(devices=[]):
        run.model.eval()
        for number, one in enumerate(inputs):
            run.labels.counting = number == 0  # multiply-adds are those of the first
            run(_copies(one, 1))
        if any(id(p) not in run.seen for p in run.model.parameters()):
            run.model.train()
            run.labels.counting = False
            for times in (1, 2):  # it may want targets, or more than one example for its batch norms
                with contextlib.suppress(Exception):
                    run(_copies(inputs[0], times))
                    break
    return run


def _copies(inputs, times: int):
    """The inputs as new tensors, the batch repeated."""
    return pytree.tree_map_only(
        torch.Tensor, lambda x: torch.cat([x] * times) if x.dim() else x.clone(), inputs
    )
