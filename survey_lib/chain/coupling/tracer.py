"""`trace`: the coupled channels of anyone's model."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils import _pytree as pytree

from survey_lib.chain.coupling.grouping import Classes, coupling
from survey_lib.chain.coupling.groups import Coupling
from survey_lib.chain.coupling.labels import Labels
from survey_lib.chain.coupling.readings import Choice, LabelledRun
from survey_lib.chain.coupling.shapes_run import ShapesRun
from survey_lib.chain.coupling.sizes import Size
from survey_lib.chain.inputs import arguments, check_kind, running, untouched, unwrap
from survey_lib.chain.masks import reparametrised
from survey_lib.chain.surgery.resize import structure


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
    return coupling(best.run, best.classes)


@dataclass(frozen=True)
class Attempt:
    """One traced run; `dead` are the ambiguous operations whose reading leaves nothing to prune."""

    run: LabelledRun
    classes: Classes
    dead: frozenset[int]


def _best(model: nn.Module, inputs: list) -> Attempt:
    """The run whose readings of ambiguous operations leave most to prune."""
    found = [_attempt(model, inputs, frozenset())]
    dead = found[0].dead
    if dead:
        found.append(_attempt(model, inputs, dead))
        stuck, choices = dead & found[1].dead, found[0].run.choices
        modules = {choices[n].module for n in stuck}
        siblings = frozenset(n for n, choice in enumerate(choices) if choice.module in modules)
        for second in (dead | siblings, dead - stuck):
            if second not in (dead, frozenset()) and found[-1].dead:
                found.append(_attempt(model, inputs, second))
    return min(found, key=lambda attempt: len(attempt.dead))


def _attempt(model: nn.Module, inputs: list, second: frozenset[int]) -> Attempt:
    run = None
    with contextlib.suppress(Exception):  # the run with all values says what is wrong
        run = _ran(ShapesRun, model, inputs, second)
    if run is None or run.looked:
        run = _ran(LabelledRun, model, inputs, second)
    _refuse_reparametrised(run.model, run.labels)
    classes = Classes(run.labels)
    dead = (n for n, choice in enumerate(run.choices) if _dead(choice, run.numbers, classes))
    return Attempt(run, classes, frozenset(dead))


def _ran(kind: type[LabelledRun], model: nn.Module, inputs: list, second: frozenset[int]) -> LabelledRun:
    """All inputs in evaluation mode, and the first in training mode too where that alone uses some parameters."""
    run = kind(structure(model), second)
    with torch.random.fork_rng(devices=[]):
        run.model.eval()
        for number, one in enumerate(inputs):
            run.counting = number == 0  # multiply-adds are those of the first
            run(_copies(one, 1))
        if any(id(p) not in run.seen for p in run.model.parameters()):
            run.model.train()
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


def _dead(choice: Choice, numbers: list[Size], classes: Classes) -> bool:
    """Nothing can go the way an operation was read, or the width that would shrink is used as a number."""
    own = [choice.size.labels] if isinstance(choice.size, Size) else []
    return not classes.useful(choice.labels) or any(
        any(n.labels is one for one in own)
        or (n.labels is not None and classes.meet(n.labels, choice.labels))
        for n in numbers
        if int(n) == choice.width
    )


def _refuse_reparametrised(model: nn.Module, labels: Labels) -> None:
    labels.reparametrised = reparametrised(model)
    for name, why in labels.reparametrised.items():
        for tensor in model.get_submodule(name).parameters():
            labels.fix_all(labels.axes(tensor), f"coupled to {name}: {why}")
