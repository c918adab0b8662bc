"""Masks as plain data: `{tensor name: bool tensor}`, True = kept.

The model is never subclassed, hooked for good or re-parametrised: a mask is applied to the weights, and
`hold` applies it again after every optimizer step, through the optimizer's own hook. So a masked model
can be copied, compiled, exported and loaded like any other (cases B11, B12, B13).
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod

from survey_lib.chain.inputs import check_runnable, described, duplicate, unwrap

Masks = dict[str, Tensor]

LAYERS = (nn.Linear, _ConvNd, nn.RNNBase, nn.RNNCellBase, nn.Bilinear, nn.MultiheadAttention)
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes an entry
NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
FOLD = {"WeightNorm": "remove_weight_norm", "SpectralNorm": "remove_spectral_norm"}


def reparametrised(model: nn.Module) -> dict[str, str]:
    """Layers whose weight is computed: zeros do not last and a zeroed row may become NaN (case B38). How to fold them."""
    ways = {name: _folded_by(module) or _masked_by_torch(module) for name, module in model.named_modules()}
    text = "its weight is computed from other tensors; fold it first with torch.nn.utils."
    return {name: text + way for name, way in ways.items() if way}


def _folded_by(module: nn.Module) -> str:
    hooks = [FOLD.get(type(hook).__name__, "") for hook in module._forward_pre_hooks.values()]
    return "parametrize.remove_parametrizations" if parametrize.is_parametrized(module) else "".join(hooks)


def _masked_by_torch(module: nn.Module) -> str:
    hooks = module._forward_pre_hooks.values()
    return "prune.remove" if any(isinstance(hook, BasePruningMethod) for hook in hooks) else ""


def prunable(model: nn.Module, tied: bool = False) -> dict[str, nn.Parameter]:
    """Weights that methods of weight granularity may prune.

    Matrices and kernels of linear, convolution, recurrent and attention layers; never biases, norms or
    embeddings. Shared weights count once.

    Parameters
    ----------
    model : nn.Module
        The network.
    tied : bool, default False
        Heads that share their weight with an embedding, too.
    """
    found: dict[str, nn.Parameter] = {}
    known = {id(m.weight) for m in unwrap(model).modules() if isinstance(m, EMBEDDINGS) and not tied}
    for layer_name, layer in unwrap(model).named_modules():
        if isinstance(layer, LAYERS) and not _folded_by(layer):
            for name, parameter in layer.named_parameters(layer_name, recurse=False):
                if parameter.dim() >= 2 and id(parameter) not in known:
                    known.add(id(parameter))
                    found[name] = parameter
    return found


def own_matrices(model: nn.Module) -> dict[str, str]:
    """{name: class it belongs to} of the matrices that no layer of torch holds (case B68).

    Those of transformers' Conv1D, of experts in one tensor, position tables. Norms, biases and embeddings are
    no such matrices.
    """
    known, found = {id(weight) for weight in prunable(model, tied=True).values()}, {}
    for layer in reparametrised(unwrap(model)):
        known |= set(map(id, unwrap(model).get_submodule(layer).parameters()))
    for owner, module in unwrap(model).named_modules():
        if not isinstance(module, (*EMBEDDINGS, *NORMS)):
            for name, parameter in module.named_parameters(owner, recurse=False):
                matrix = parameter.dim() >= 2 and parameter.is_floating_point() and not name.endswith("bias")
                if matrix and id(parameter) not in known:
                    known.add(id(parameter))
                    found[name] = type(module).__name__
    return found


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers by name, shared ones under each of their names."""
    model = unwrap(model)
    named = dict(model.named_parameters(remove_duplicate=False))
    return named | dict(model.named_buffers(remove_duplicate=False))


def check(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Check that each mask fits its tensor.

    Parameters
    ----------
    model : nn.Module
        The network.
    masks : Mapping[str, Tensor]
        {tensor name: bool}, True = kept.

    Raises
    ------
    ValueError
        If a mask names no tensor of the model, has another shape, or is not binary (case B46).
    """
    if not isinstance(masks, Mapping):
        kind = type(masks).__name__
        raise ValueError(f"masks must be {{tensor name: bool tensor}}: pass result.masks; got {kind}")
    known = tensors(model)
    for name, mask in masks.items():
        if name not in known:
            raise ValueError(f"mask for {name!r}: no such tensor in the model; it has {', '.join(known)}")
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            raise ValueError(f"mask for {name} must be bool: use mask != 0; got {described(mask)}")
        if mask.shape != known[name].shape:
            shape = tuple(known[name].shape)
            raise ValueError(f"mask for {name} has shape {tuple(mask.shape)}, the tensor {shape}")


def clear(tensor: Tensor, mask: Tensor) -> None:
    """Set what the mask removes to exactly zero, in place, NaN and infinity included.

    A product would keep them, and `masked_fill_` takes three times as long on a CPU: the bits are multiplied.

    Parameters
    ----------
    tensor : Tensor
        A tensor, which is changed.
    mask : Tensor
        Bool, True = kept.
    """
    tensor.view(BITS[tensor.element_size()]).mul_(mask.to(tensor.device))


@torch.no_grad()
def apply(model: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    """Set what the masks remove to exactly zero, in place, and return the model.

    Parameters
    ----------
    model : nn.Module
        The network, which is changed.
    masks : Mapping[str, Tensor]
        {tensor name: bool}, True = kept.

    Examples
    --------
    >>> layer = nn.Linear(2, 1); _ = apply(layer, {"weight": torch.tensor([[True, False]])})
    >>> layer.weight[0, 1].item()
    0.0
    """
    check(model, masks)
    known = tensors(model)
    for name, mask in masks.items():
        clear(known[name], mask)
    return model


def masked_copy(model: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    """A copy of the model with the masks applied; the argument stays as it was.

    Parameters
    ----------
    model : nn.Module
        The network.
    masks : Mapping[str, Tensor]
        {tensor name: bool}, True = kept.
    """
    return apply(duplicate(model), masks)


def check_optimizer(weights: Iterable[Tensor], optimizer: torch.optim.Optimizer) -> None:
    """Check that the optimizer trains one of these weights.

    Parameters
    ----------
    weights : Iterable[Tensor]
        Masked weights.
    optimizer : torch.optim.Optimizer
        The one of the training loop.

    Raises
    ------
    ValueError
        If it is no optimizer, or trains none of them (case B79).
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ValueError(f"optimizer must be a torch.optim.Optimizer, built; got {described(optimizer)}")
    trained = {id(p) for group in optimizer.param_groups for p in group["params"] if p.requires_grad}
    weights = list(weights)
    if weights and trained.isdisjoint(map(id, weights)):
        why = "the optimizer trains none of the model's pruned weights, so its steps would never reach them"
        raise ValueError(f"{why}; build it from the parameters of this model, not frozen")


class Hold:
    """Keeps masked weights at zero through training; made by `hold`. `masks` may be replaced at any time."""

    def __init__(self, model: nn.Module, masks: Mapping[str, Tensor], optimizer: torch.optim.Optimizer):
        check_runnable(bare := unwrap(model))
        check(bare, masks)
        if not masks:
            raise ValueError("masks is empty, so nothing would be held; pass result.masks of a masked model")
        self.model, self.masks = bare, dict(masks)
        check_optimizer([tensors(self.model)[name] for name in masks], optimizer)
        apply(self.model, self.masks)
        self._handle = optimizer.register_step_post_hook(lambda *_: self())

    def __call__(self) -> None:
        apply(self.model, self.masks)

    def remove(self) -> None:
        """Stop holding; the weights stay as they are."""
        self._handle.remove()


def hold(model: nn.Module, masks: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> Hold:
    """Keep pruned weights at exactly zero in anyone's training loop.

    After each `optimizer.step()` the optimizer's own post-step hook sets the masked entries to zero, so
    momentum, weight decay and Adam's moments cannot bring them back (case B11). A second optimizer needs a
    second `hold`.

    Parameters
    ----------
    model : nn.Module
        The network in training; its masked weights are set to zero at once.
    masks : Mapping[str, Tensor]
        {tensor name: bool}, True = kept.
    optimizer : torch.optim.Optimizer
        The optimizer that trains the model.

    Returns
    -------
    Hold
        Its `remove()` ends it; `masks` may be replaced at any time.

    Raises
    ------
    ValueError
        For masks that are empty or do not fit the model, or an optimizer of another one.

    Examples
    --------
    >>> layer = nn.Linear(2, 1); optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, weight_decay=0.1)
    >>> held = hold(layer, {"weight": torch.tensor([[True, False]])}, optimizer)
    """
    return Hold(model, masks, optimizer)


def overall_sparsity(masks: Mapping[str, Tensor]) -> float:
    """Removed share of all masked entries together."""
    total = sum(mask.numel() for mask in masks.values())
    return 1 - sum(int(mask.count_nonzero()) for mask in masks.values()) / total if total else 0.0


def by_layer(masks: Mapping[str, Tensor]) -> list[dict]:
    """One row a masked weight: its layer, how many entries it has and keeps, and the share removed."""
    rows = []
    for name, mask in masks.items():
        total, kept = mask.numel(), int(mask.sum())
        row = {"layer": name.removesuffix(".weight"), "unit": "weight", "total": total, "kept": kept}
        rows.append(row | {"sparsity": 1 - kept / total})
    return rows


def masks_from_torch(model: nn.Module) -> Masks:
    """Masks of a model pruned with `torch.nn.utils.prune`, under the names they have once made permanent.

    Call `torch.nn.utils.prune.remove` on each layer afterwards, then `hold` goes on where it stopped. ValueError
    for a model in which nothing is pruned that way.

    Examples
    --------
    >>> from torch.nn.utils import prune; layer = prune.l1_unstructured(nn.Linear(2, 1), "weight", 1)
    >>> int(masks_from_torch(layer)["weight"].sum())
    1
    """
    check_runnable(model)
    found = {n.removesuffix("_mask"): b.bool() for n, b in model.named_buffers() if n.endswith("_mask")}
    pruned = {name.removesuffix("_orig") for name, _ in model.named_parameters() if name.endswith("_orig")}
    masks = {name: mask for name, mask in found.items() if name in pruned}  # other masks are not of pruning
    if not masks:
        raise ValueError("nothing in the model is pruned with torch.nn.utils.prune, so it has no masks")
    return masks
