"""Cut channel groups out of a model: as many as pass the check that masked equals cut."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from tqdm import tqdm

from survey_lib.chain.coupling.groups import Coupling, check_keep
from survey_lib.chain.surgery.plan import make_plan
from survey_lib.chain.surgery.resize import slim
from survey_lib.chain.surgery.verify import Check

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
    return Cut(check.small or slim(model, {}, {}), plan, accepted, refused, check.over_kept)
