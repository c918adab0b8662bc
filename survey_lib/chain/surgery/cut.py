"""Cut channel groups out of a model, repeat the cut from a plan, save and load slim models.

A plan is JSON: which positions went from which axis of which tensor, and which attributes changed. Replayed
on a fresh dense model it rebuilds the small architecture, so that a slim model is one safetensors file.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
from safetensors.torch import save_file as save_tensors
from torch import Tensor, nn
from tqdm import tqdm

from survey_lib.chain import blocks
from survey_lib.chain import masks as masking
from survey_lib.chain.coupling.groups import Coupling, check_keep, position_masks, shapes
from survey_lib.chain.inputs import duplicate, reason
from survey_lib.chain.masks import Masks
from survey_lib.chain.surgery.plan import SCHEMA, changes, check_plan, make_plan
from survey_lib.chain.surgery.resize import slim
from survey_lib.chain.surgery.verify import Check

PATIENCE = 5  # seconds after which progress is shown
BIASED = (nn.Linear, nn.Conv1d, nn.Conv2d)  # layers that can be given a bias


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


def replay(model: nn.Module, plan: Mapping) -> nn.Module:
    """The small architecture rebuilt from a dense model of the same class.

    Its weights are the dense ones, cut.

    Parameters
    ----------
    model : nn.Module
        A dense model of the same class.
    plan : Mapping
        What `cut` returned with its model.

    Raises
    ------
    ValueError
        Before any work, for a plan of another schema or another model, unknown names, positions out of
        range, or attributes that the module does not have as integers.
    """
    model = _with_biases(model, plan)
    check_plan(model, plan)
    return slim(blocks.remove(model, plan.get("blocks", [])), *changes(plan))


def biased(model: nn.Module, layers: Iterable[str]) -> nn.Module:
    """A copy in which the named layers have a bias: zeros where there was none.

    Parameters
    ----------
    model : nn.Module
        The network.
    layers : Iterable[str]
        Names of layers.

    Examples
    --------
    >>> biased(nn.Sequential(nn.Linear(3, 2, bias=False)), ["0"])[0].bias.tolist()
    [0.0, 0.0]
    """
    model = duplicate(model)
    for name in layers:
        layer = model.get_submodule(name)
        if layer.bias is None:
            layer.bias = nn.Parameter(layer.weight.new_zeros(len(layer.weight)))
    return model


def _with_biases(model: nn.Module, plan: Mapping) -> nn.Module:
    """The model with the biases that a method added to it before it was cut."""
    names = plan.get("biases", []) if isinstance(plan, Mapping) else []
    free = {n for n, layer in model.named_modules() if isinstance(layer, BIASED) and layer.bias is None}
    if not isinstance(names, list) or not all(isinstance(name, str) and name in free for name in names):
        raise ValueError(
            f"the plan adds biases to {names!r}; only Linear and Conv layers without one can get one"
        )
    return biased(model, names) if names else model


def block_plan(model: nn.Module, names: list[str]) -> dict:
    """The plan that leaves out whole blocks.

    Parameters
    ----------
    model : nn.Module
        The network.
    names : list[str]
        Names of blocks.
    """
    return make_plan(model, {}, {}) | {"blocks": names}


def plan_masks(model: nn.Module, plan: Mapping) -> Masks:
    """The masks that a plan stands for, on the dense model it was made from.

    Parameters
    ----------
    model : nn.Module
        The dense model.
    plan : Mapping
        What `cut` returned with its model.
    """
    model = _with_biases(model, plan)
    check_plan(model, plan)
    return position_masks(shapes(model), changes(plan)[0]) | blocks.block_masks(model, plan.get("blocks", []))


def save_file(
    path: str | Path, model: nn.Module, plan: Mapping | None, masks: Masks | None, meta: Mapping
) -> None:
    """Write weights, plan, masks and notes to one safetensors file; a shared tensor is stored once.

    Parameters
    ----------
    path : str | Path
        The file to write.
    model : nn.Module
        The network.
    plan : Mapping | None
        Plan of a cut model.
    masks : Masks | None
        Masks of a masked model.
    meta : Mapping
        Notes on the model, as JSON.

    Raises
    ------
    ValueError
        If a mask does not fit the model or the notes are no strict JSON.
    """
    masking.check(model, masks or {})
    state, owners = model.state_dict(), _owners(model)
    stored = {f"weight:{n}": t.detach().cpu().contiguous() for n, t in state.items() if owners[n] == n}
    stored |= {f"mask:{name}": mask.cpu().contiguous() for name, mask in (masks or {}).items()}
    notes = json.dumps({"schema": SCHEMA, "plan": plan, "meta": dict(meta)}, allow_nan=False)
    save_tensors(stored, str(path), metadata={"survey_lib": notes})


def load_file(path: str | Path, model: nn.Module) -> tuple[nn.Module, dict | None, Masks, dict]:
    """Model, plan, masks and notes from a file of `save_file`; `model` is a dense one of the same class.

    The plan is replayed first, so the file of a cut model returns the cut model, bit for bit. Nothing is
    unpickled.

    Parameters
    ----------
    path : str | Path
        What `save_file` wrote.
    model : nn.Module
        A dense one of the same class; it is not changed.

    Raises
    ------
    ValueError
        For files of another kind, a later schema, or another model.
    """
    try:
        with safetensors.safe_open(str(path), "pt") as file:
            text = (file.metadata() or {}).get("survey_lib")
            stored = {name: file.get_tensor(name) for name in file.keys()} if text else {}
    except safetensors.SafetensorError as error:
        why = f"{path} is not a safetensors file ({error}); files of survey_lib.save are"
        raise ValueError(why) from error
    if text is None:
        raise ValueError(
            f"{path} was not written by survey_lib.save; use safetensors.torch.load_file for its tensors"
        )
    plan, meta = _notes(text, path)
    small = replay(model, plan) if plan else slim(model, {}, {})
    weights, masks = (
        {name.removeprefix(kind): t for name, t in stored.items() if name.startswith(kind)}
        for kind in ("weight:", "mask:")
    )
    _load_weights(small, weights, path)
    masking.check(small, masks)
    return small, plan, masks, meta


def _notes(text: str, path) -> tuple[dict | None, dict]:
    """Plan and meta of a file of `save_file`, from the JSON in its metadata."""
    try:
        notes = json.loads(text)
        schema, plan, meta = notes["schema"], notes["plan"], notes["meta"]
    except (ValueError, RecursionError, TypeError, KeyError) as error:
        raise ValueError(f"{path} holds damaged notes ({reason(error)}); save it again") from error
    if schema != SCHEMA:
        raise ValueError(f"{path} has schema {schema}, this version reads {SCHEMA}; update survey_lib")
    return plan, meta


def _owners(model: nn.Module) -> dict[str, str]:
    """For each name of the state dict the first name of the same tensor."""
    first: dict[tuple, str] = {}
    state = model.state_dict().items()
    return {n: first.setdefault((t.data_ptr(), t.shape, t.stride()), n) if t.numel() else n for n, t in state}


def _load_weights(small: nn.Module, stored: Masks, path) -> None:
    owners, state = _owners(small), small.state_dict()
    for name in sorted(set(owners.values()) | stored.keys()):
        here, there = (
            f"{t.dtype} {tuple(t.shape)}" if t is not None else "nothing"
            for t in (state.get(name), stored.get(name))
        )
        if here != there:
            raise ValueError(
                f"{path} holds {there} for {name!r}, the model has {here}; build the model it was saved of"
            )
    small.load_state_dict({name: stored[owner] for name, owner in owners.items()})
