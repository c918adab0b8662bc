"""Cut channel groups out of a model: as many as pass the check that masked equals cut, in float64.

The check carries the soundness of every cut. It is against another batch, and where the model takes it another size,
than the trace saw. Norms and layer scales are randomised and small matrices scaled up first, because zeros, ones and
1e-6 of a fresh model hide errors.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from tqdm import tqdm

from survey_lib.chain.coupling.groups import STATISTICS, Coupling, check_keep, removed, zero
from survey_lib.chain.inputs import arguments, reason
from survey_lib.chain.surgery import resize
from survey_lib.chain.surgery.float64 import OverKept, double, run
from survey_lib.chain.surgery.plan import make_plan

DIFFERS = "the cut model computes something else than the masked one"
FAILS = "the cut model fails: {}"
TOLERANCE = 1e-9  # relative; in float32 and 1e-5 a quarter of the wrong cuts would pass
ROUNDS = 12
SHRINK = {"third": lambda n: n // 3 // 32 * 32, "half": lambda n: n // 2}  # large images, for the check
PATIENCE = 5  # seconds after which progress is shown


@dataclass(frozen=True)
class Cut:
    """The small model, the plan that repeats the cut, what was kept, and the groups that were refused.

    Attributes
    ----------
    model : nn.Module
        The small model.
    plan : dict
        What repeats the cut, as JSON.
    keep : dict[str, Tensor]
        What was kept.
    refused : list[tuple[str, str]]
        Groups that were left whole, with the reason.
    over_kept : tuple[str, ...]
        Modules whose norms or reductions run over channels; "masked equals cut" holds with those over
        kept ones.
    """

    model: nn.Module
    plan: dict
    keep: dict[str, Tensor]
    refused: list[tuple[str, str]]
    over_kept: tuple[str, ...] = ()


def cut(model: nn.Module, coupling: Coupling, keep: Mapping[str, Tensor], example, *more) -> Cut:
    """Cut the channels that `keep` marks False out of a copy of the model.

    Count ties are balanced first. Every cut is checked on each example: the masked and the cut model must
    agree in float64 to 1e-9. Where they do not, the groups are tried half by half; the ones that fail are left
    whole and reported.

    Parameters
    ----------
    model : nn.Module
        The network; it is not changed.
    coupling : Coupling
        What `trace` returned for the model.
    keep : Mapping[str, Tensor]
        {group name: (size,) bool}, True = kept.
    example : tensor, tuple or dict
        An input of its forward.
    *more
        Further inputs.

    Raises
    ------
    ValueError
        For the coupling of another model, and for masks that do not fit the groups.

    Examples
    --------
    >>> import torch; from survey_lib.chain.coupling import trace
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)); x = torch.ones(1, 2)
    >>> cut(model, trace(model, x), {"0": torch.tensor([True, False, True])}, x).model[0].weight.shape
    torch.Size([2, 2])
    """
    coupling.check(model)
    check_keep(coupling, keep)
    keep = {name: mask for name, mask in coupling.balance(keep).items() if not mask.all()}
    check, accepted, refused = Check(model, coupling, (example, *more)), {}, []

    units = coupling.units(keep)
    progress = tqdm(total=len(units), desc="checking groups", leave=False, delay=PATIENCE, disable=None)

    def grow(units: list[list[str]], known: str = "") -> None:
        """`known`: what is wrong with these units together with all that was accepted."""
        more = {name: keep[name] for unit in units for name in unit}
        problem = known or (check.problem(accepted | more) if more else "")
        if problem and len(units) > 1:
            half, before = len(units) // 2, len(refused)
            grow(units[:half])
            return grow(units[half:], problem if len(refused) == before else "")
        if problem:
            refused.extend((name, problem) for name in more)
        else:
            accepted.update(more)
        progress.update(len(units))

    with progress:
        grow(units)
    plan = make_plan(model, check.gone, check.attributes)
    return Cut(check.small or resize.slim(model, {}, {}), plan, accepted, refused, check.over_kept)


class Check:
    """Compares the masked and the cut model for sets of groups.

    problem(keep) is empty where the two agree; then `small` is the cut model, `attributes` what it needed,
    and `over_kept` names the modules whose norms had to be taken over the kept channels.
    """

    def __init__(self, model: nn.Module, coupling: Coupling, examples: Iterable):
        self.model, self.coupling = model, coupling
        self.random = random_values(model)
        self.gains = gains(model, without=self.random)
        # From the first run on: one that the model takes
        self.inputs = [variants(arguments(one)) for one in examples]
        self.small, self.gone, self.attributes, self.over_kept = None, {}, {}, ()

    def problem(self, keep: Mapping[str, Tensor]) -> str:
        """Why the masked and the cut model differ; empty where they agree.

        Parameters
        ----------
        keep : Mapping[str, Tensor]
            {group name: (size,) bool}, True = kept.
        """
        gone, alive = removed(self.coupling, keep), self.coupling.alive(keep)
        masked, over_kept = self._masked(keep, gone)
        for widths in (resize.unread, lambda *_: {}):  # without them, where the two differ so
            attributes = resize.new_attributes(self.model, self.coupling, gone, alive)
            small = resize.slim(self.model, gone, attributes)
            attributes |= (stated := widths(self.model, small))
            found, problem = self._repaired(small, gone, alive, attributes)
            problem = problem or ("" if equal(masked, found) else DIFFERS)
            if not problem:
                self.small, self.gone, self.attributes, self.over_kept = small, gone, attributes, over_kept
            if not problem or not stated:
                break
        return problem

    def _repaired(self, small: nn.Module, gone: Mapping, alive, attributes) -> tuple[list[Tensor], str]:
        """What the cut model computes, once its attributes are repaired, or why it fails."""
        for _ in range(ROUNDS):
            try:
                copy = resize.structure(small).eval()
                return [
                    x for (inputs,) in self.inputs for x in run(copy, inputs, partial(self._shortened, gone))
                ], ""
            except Exception as raised:  # whatever a wrong width makes a forward raise
                change = resize.repair(raised, small, self.coupling, alive, attributes)
                attributes |= change
                if not change:
                    return [], FAILS.format(reason(raised))
        return [], "the cut model still fails after repairing its attributes"

    def _masked(self, keep: Mapping[str, Tensor], gone: Mapping) -> tuple[list[Tensor], tuple[str, ...]]:
        """Outputs of the dense model with zeros where `group_masks` has them, and where norms ran over kept ones."""
        model, outputs, needed = resize.structure(self.model).eval(), [], {}
        flagged = any(self.coupling[name].flags for name in keep)
        for number, sizes in enumerate(self.inputs):
            for inputs in sizes:
                over_kept = OverKept(model, self.coupling, keep) if flagged else None
                try:
                    outputs += run(model, inputs, partial(self._zeroed, gone), over_kept)
                    break
                except Exception as raised:  # a model may take one size only
                    refused = raised
            else:
                why = f"the model does not run on its example in float64: {reason(refused)}"
                raise ValueError(why) from refused
            self.inputs[number] = [inputs]
            needed |= over_kept.needed if over_kept else {}
        return outputs, tuple(needed)

    def _zeroed(self, gone: Mapping, name: str, tensor: Tensor) -> Tensor:
        """The float64 value of a tensor of the masked model."""
        axes = {} if name.rpartition(".")[2] in STATISTICS else gone.get(name, {})
        return zero(self._shortened({}, name, tensor), axes)

    def _shortened(self, gone: Mapping, name: str, tensor: Tensor) -> Tensor:
        """The float64 value of a tensor of the cut model; those that are random are shortened here."""
        if name in self.random:
            return resize.shorten(self.random[name], gone.get(name, {}))
        value = double(name, tensor)
        return value.mul_(self.gains[name]) if name in self.gains else value


def equal(expected: list[Tensor], found: list[Tensor]) -> bool:
    """All outputs agree to 1e-9 of their largest value, none is NaN.

    Parameters
    ----------
    expected : list[Tensor]
        Outputs of the masked model.
    found : list[Tensor]
        Outputs of the cut model.
    """
    if [x.shape for x in expected] != [x.shape for x in found]:
        return False
    return all(error(a, b) <= TOLERANCE for a, b in zip(expected, found, strict=True) if a.numel())


def error(expected: Tensor, found: Tensor) -> float:
    """Largest difference, `max |a − b| / max |a|`; infinite where something is not finite.

    Parameters
    ----------
    expected : Tensor
        An output of the masked model.
    found : Tensor
        The same of the cut model.
    """
    if not (torch.isfinite(expected).all() and torch.isfinite(found).all()):
        return float("inf")
    expected, found = expected.double(), found.double()
    return float((expected - found).abs().max() / expected.abs().max().clamp(min=1e-30))


def random_values(model: nn.Module) -> dict[str, Tensor]:
    """Float64 values that stand for norm statistics and for parameters that are constant or nearly so."""
    generator, found = torch.Generator().manual_seed(0), {}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        kind = name.rpartition(".")[2]
        if kind in STATISTICS or (isinstance(tensor, nn.Parameter) and _constant(tensor)):
            noise = torch.rand(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.device)
            found[name] = noise - 0.5 if kind in ("running_mean", "bias") else noise + 0.5
    return found


def gains(model: nn.Module, without: Container[str] = ()) -> dict[str, float]:
    """Factors that bring small matrices to unit gain (case B95).

    Behind fresh weights of 0.02 a difference hides.

    Parameters
    ----------
    model : nn.Module
        The network.
    without : Container[str], default ()
        Tensors to leave out.
    """
    named = {name: p.detach() for name, p in model.named_parameters() if name not in without}
    matrices = {name: p for name, p in named.items() if p.dim() >= 2 and p.is_floating_point()}
    norms = {name: float(torch.linalg.vector_norm(p)) for name, p in matrices.items()}
    return {
        n: len(matrices[n]) ** 0.5 / norm for n, norm in norms.items() if 0 < norm < len(matrices[n]) ** 0.5
    }


def _constant(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or not tensor.numel():
        return False
    low, high = map(float, tensor.detach().aminmax())
    return high - low <= 1e-3 * max(abs(high), abs(low))


def variants(example) -> Iterator:
    """Inputs of other sizes than the example, the cheapest first: size and batch, length and batch, batch."""
    generator = torch.Generator().manual_seed(0)

    def change(x: Tensor, grown: str) -> Tensor:
        shape = list(x.shape)
        if shape:
            shape[0] = 3 if shape[0] == 2 else 2
        if grown in SHRINK and x.dim() >= 4:
            shape[-2:] = [SHRINK[grown](n) if n >= 128 else n + 8 for n in shape[-2:]]
        if grown == "length" and x.dim() in (2, 3) and (x.dim() == 3 or not x.is_floating_point()):
            shape[1] += 1
        if x.is_floating_point():
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(x.device)
        for dim, size in enumerate(shape):
            x = x.index_select(dim, torch.arange(size, device=x.device) % x.shape[dim])
        return x

    for grown in (*SHRINK, "length", ""):
        yield pytree.tree_map_only(Tensor, lambda x, grown=grown: change(x, grown), example)
    yield pytree.tree_map_only(Tensor, lambda x: x.double() if x.is_floating_point() else x, example)
