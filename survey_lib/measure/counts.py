"""What a model costs by counting: parameters, bytes and multiply-adds (MACs), dense and non-zero; and its training.

Models run in eval mode without gradients, and everything is put back, exceptions included.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves

from survey_lib.chain import masks as masking
from survey_lib.chain.coupling.readings import plain_kernels
from survey_lib.chain.inputs import arguments, check_kind, leaves, running, untouched, unwrap, whole
from survey_lib.eager import EagerMode

PRUNED_FROM = 1e-3  # share of zeros from which on a weight counts as pruned
Example = Tensor | tuple | list | Mapping
# Bare layers that have their batch on axis 1 unless told otherwise
TIME_FIRST = (nn.RNNBase, nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
PASSES = 3  # forward, gradients of the activations, gradients of the weights
# Operators without arithmetic: nobody misses a rule for them.
MOVES = set(
    "cat stack unsafe_split _unsafe_view copy_ _to_copy embedding index_select index gather "
    "constant_pad_nd roll flip".split()
)


@contextmanager
def quiet(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients inside; the model and the random state as found after."""
    with torch.random.fork_rng(), torch.no_grad(), untouched(model):
        model.eval()
        yield


def samples_of(model: nn.Module, example: Example, output: object = None, samples: int | None = None) -> int:
    """Samples in the example: axis 0, or axis 1 of a bare layer that is not `batch_first`.

    Parameters
    ----------
    model : nn.Module
        The network.
    example : Example
        An input of its forward.
    output : object, optional
        What the model returned for it, if that is known.
    samples : int, optional
        What the caller says, which is checked and returned.

    Raises
    ------
    ValueError
        Where that is not clear (case B73): inputs that differ there or are vectors, a layer inside that
        has its batch on axis 1, an output of the model that has no such axis.
    """
    if samples is not None:
        whole(samples=samples)
        return samples
    inputs = list(leaves(arguments(example)))
    if isinstance(model, TIME_FIRST):
        axis = 0 if getattr(model, "batch_first", True) else 1
        return inputs[0].shape[axis] if inputs[0].dim() > 2 else 1
    found = {len(x) if x.dim() else 0 for x in inputs}
    made = {len(x) for x in leaves(output) if x.dim()} or found
    second = [name for name, module in model.named_modules() if not getattr(module, "batch_first", True)]
    if not second and len(found) == 1 and found <= made and any(x.dim() > 1 for x in inputs):
        return found.pop()
    why = f"the first axis is {sorted(found)} long in the input and {sorted(made)} in the output"
    if second:
        why = f"{second[0]!r} takes its batch on axis 1"
    elif all(x.dim() < 2 for x in inputs):
        why = "no input has more than one axis"
    raise ValueError(f"how many samples are in the example is not clear: {why}; give samples=")


def has_zeros(weight: Tensor) -> bool:
    """More zeros than the stray ones of a trained weight."""
    return weight.numel() - int(weight.count_nonzero()) > PRUNED_FROM * weight.numel()


def weight_names(
    model: nn.Module, used: Mapping[str, Tensor], masks: Mapping[str, Tensor] | None = None
) -> list[str]:
    """Which of the weights of `effective` are prunable or masked.

    A weight that is also an embedding is among them once it has zeros.

    Parameters
    ----------
    model : nn.Module
        The network.
    used : Mapping[str, Tensor]
        What `effective` returned.
    masks : Mapping[str, Tensor], optional
        {tensor name: bool}.
    """
    known = masking.tensors(model)
    found = {id(p) for p in masking.prunable(model).values()} | {id(known[name]) for name in masks or {}}
    late = {id(p) for p in masking.prunable(model, tied=True).values()}
    return [n for n, w in used.items() if id(known[n]) in found or (id(known[n]) in late and has_zeros(w))]


def effective(model: nn.Module, masks: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Parameters as the forward uses them: masks applied, hooks of `torch.nn.utils.prune` resolved.

    Parameters
    ----------
    model : nn.Module
        The network.
    masks : Mapping[str, Tensor], optional
        {tensor name: bool}, True = kept.

    Returns
    -------
    dict[str, Tensor]
        {parameter name: tensor}, shared ones once.

    Examples
    --------
    >>> int(effective(nn.Linear(2, 1), {"weight": torch.tensor([[True, False]])})["weight"].count_nonzero())
    1
    """
    masking.check(model, masks or {})
    known, buffers = masking.tensors(model), dict(model.named_buffers())
    removed = {id(known[name]): mask for name, mask in (masks or {}).items()}  # shared weights: any name
    used = {}
    for name, parameter in model.named_parameters():
        mask = removed.get(id(parameter), buffers.get(name.removesuffix("_orig") + "_mask"))
        weight = parameter.detach()
        used[name] = weight if mask is None else weight * mask.to(weight)
    return used


class MacCounter(EagerMode):
    """Adds up the MACs of every operator that `torch.utils.flop_counter` has a rule for.

    A tensor computed from parameters alone (a masked or normalised weight, a slice of one) counts as a
    weight; `nonzero_macs` scales an operator's MACs by the non-zero share of each weight it reads.
    """

    def __init__(self, weights: Iterable[Tensor]):
        from torch.utils.flop_counter import flop_registry  # slow to import

        super().__init__()
        self._rules = flop_registry
        self.macs, self.nonzero_macs, self.uncounted = 0, 0.0, set()
        self._weights = {_storage(weight): weight for weight in weights}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func.namespace == "aten" and func._overloadpacket not in self._rules:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        weights = [tensor for tensor in inputs if tensor.numel() and _storage(tensor) in self._weights]
        if inputs and len(weights) == len(inputs):
            made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
            self._weights.update({_storage(tensor): tensor for tensor in made})
        rule = self._rules.get(func._overloadpacket)
        if rule is not None:  # the registry counts two FLOPs a multiply-add
            self._add(rule(*args, **kwargs, out_val=result) // 2, weights)
        elif inputs and not func.is_view and torch.Tag.pointwise not in func.tags:
            self.uncounted |= {func._overloadpacket.__name__} - MOVES
        return result

    def _add(self, macs: int, weights: list[Tensor]) -> None:
        self.macs += macs
        for weight in weights:
            if weight.dim() > 1:  # not the bias
                macs *= int(weight.count_nonzero()) / max(weight.numel(), 1)
        self.nonzero_macs += macs


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr() if tensor.layout is torch.strided else id(tensor)


def sparsity(model: nn.Module, masks: Mapping[str, Tensor] | None = None) -> dict[str, float]:
    """Zeros in prunable weights, as a share of three totals (case B50).

    The same before and after masks are made permanent.

    Parameters
    ----------
    model : nn.Module
        The network.
    masks : Mapping[str, Tensor], optional
        {tensor name: bool}, True = kept; the zeros in the weights themselves count without them, too.

    Returns
    -------
    dict[str, float]
        sparsity_pruned, of the tensors that have zeros; sparsity_prunable, of all prunable weights;
        sparsity_all, of all parameters.

    Examples
    --------
    >>> layer = nn.Linear(4, 2); keep = torch.tensor([[True, False, True, False]] * 2)
    >>> sparsity(layer, {"weight": keep})
    {'sparsity_pruned': 0.5, 'sparsity_prunable': 0.5, 'sparsity_all': 0.4}
    """
    used = effective(model, masks)
    weights = weight_names(model, used, masks)
    size = {name: tensor.numel() for name, tensor in used.items()}
    zeros = {name: size[name] - int(used[name].count_nonzero()) for name in used if name in weights}
    pruned = [name for name in zeros if has_zeros(used[name])]
    return {
        "sparsity_pruned": sum(zeros[name] for name in pruned) / max(sum(size[n] for n in pruned), 1),
        "sparsity_prunable": sum(zeros.values()) / max(sum(size[name] for name in zeros), 1),
        "sparsity_all": sum(zeros.values()) / max(sum(size.values()), 1),
    }


def measure(
    model: nn.Module,
    example: Example,
    masks: Mapping[str, Tensor] | None = None,
    *,
    samples: int | None = None,
) -> dict:
    """Count a model's parameters, state and multiply-adds; the model is left exactly as found.

    MACs are those of matrix products and convolutions; norms and activations appear in `uncounted`, by the
    usual convention.

    Parameters
    ----------
    model : nn.Module
        Any model.
    example : Example
        The forward's input: a tensor, a tuple of tensors or a dict.
    masks : Mapping[str, Tensor], optional
        {tensor name: bool}, True = kept.
    samples : int, optional
        How many samples are in `example`; by default the length of axis 0, or of axis 1 of a bare layer
        that is not `batch_first`.

    Returns
    -------
    dict
        * parameters, nonzero_parameters: entries, shared ones once
        * sparsity_pruned, sparsity_prunable, sparsity_all: see `sparsity`
        * macs: multiply-adds of one sample, whatever the batch, mode and grad mode
        * nonzero_macs: theoretical, each weight's MACs times its non-zero share; no dense kernel skips
          zeros, so this is a bound and not a measured cost
        * bytes: parameters and buffers as held in memory
        * subnormals: entries smaller than the dtype's smallest normal number, not zero
        * uncounted: operators that ran without a rule (views and element-wise ones aside)

    Raises
    ------
    ValueError
        Where `samples` is not clear, because inputs differ there, or a layer inside the model has its
        batch on axis 1; for a model that does not run on `example`, or whose weights cannot be counted.

    Examples
    --------
    >>> result = measure(nn.Conv2d(3, 8, 3, padding=1), torch.randn(1, 3, 8, 8))
    >>> result["macs"], result["parameters"], result["uncounted"]
    (13824, 224, [])
    """
    model = unwrap(model)
    check_kind(model)
    used = effective(model, masks)
    positional, named = arguments(example)
    state = used | {name: buffer.clone() for name, buffer in model.named_buffers()}
    with running(model, example), quiet(model), plain_kernels(model):
        # fused kernels have no rule; they would read 0 or change with mode and grad mode (case B48)
        with torch.backends.cudnn.flags(enabled=False), MacCounter(state.values()) as counter:
            output = functional_call(model, state, positional, named)
    samples = samples_of(model, example, output, samples)
    floating = [tensor for tensor in used.values() if tensor.is_floating_point()]
    return {
        "parameters": sum(tensor.numel() for tensor in used.values()),
        "nonzero_parameters": sum(int(tensor.count_nonzero()) for tensor in used.values()),
        **sparsity(model, masks),
        "macs": counter.macs / samples if counter.macs % samples else counter.macs // samples,
        "nonzero_macs": counter.nonzero_macs / samples,
        "bytes": sum(tensor.nbytes for tensor in (*used.values(), *model.buffers())),
        "subnormals": sum(int(((w != 0) & (w.abs() < torch.finfo(w.dtype).tiny)).sum()) for w in floating),
        "uncounted": sorted(counter.uncounted),
    }


def reductions(dense: Mapping, pruned: Mapping) -> dict[str, float]:
    """Two results of `measure` compared.

    Parameters
    ----------
    dense : Mapping
        What `measure` returned for the network before.
    pruned : Mapping
        What it returned for the network after.

    Returns
    -------
    dict[str, float]
        * compression: dense / kept parameters
        * theoretical_speedup: dense / kept MACs, where zeros in prunable weights do not count as kept
        * parameter_reduction, mac_reduction: the shares removed

    Examples
    --------
    >>> layer = nn.Linear(4, 2, bias=False); half = {"weight": torch.arange(8).view(2, 4) % 2 == 0}
    >>> x = torch.ones(1, 4); reductions(measure(layer, x), measure(layer, x, half))["compression"]
    2.0
    """
    kept = pruned["parameters"] * (1 - pruned["sparsity_all"])
    return {
        "compression": dense["parameters"] / kept if kept else math.inf,
        "theoretical_speedup": dense["macs"] / pruned["nonzero_macs"] if pruned["nonzero_macs"] else math.inf,
        "parameter_reduction": 1 - kept / dense["parameters"],
        "mac_reduction": 1 - pruned["nonzero_macs"] / dense["macs"],
    }


class Meter:
    """Theoretical MACs of training while masks change: zeros cost nothing, as no hardware has it yet.

    A step costs 3 f_s an example, with f_s the MACs of the weights that are kept at that step; 2 f_s + f_d
    where the method reads the gradients of pruned weights too, with f_d the dense MACs (Evci et al. 2020,
    appendix). Start it before the session, so that it sees the masks that a step was computed with.
    """

    def __init__(self, model: nn.Module, example: Tensor, optimizer: torch.optim.Optimizer):
        self.session = None  # what `survey_lib.during` returned, once it has
        self.dense, self.total, self.steps, self._seen = measure(model, example)["macs"], 0.0, 0, None
        self._macs = {}
        for name, weight in masking.prunable(model).items():
            none = {name: torch.zeros_like(weight, dtype=torch.bool)}
            self._macs[name] = self.dense - measure(model, example, none)["nonzero_macs"]
        optimizer.register_step_pre_hook(lambda *_: self._step())

    @property
    def average(self) -> float:
        """MACs an example and step."""
        return self.total / max(self.steps, 1)

    def _step(self) -> None:
        masks = self.session.masks
        if masks is not self._seen:
            gone = {name: 1 - float(mask.float().mean()) for name, mask in masks.items()}
            spared = sum(self._macs.get(name, 0) * share for name, share in gone.items())
            self._seen, self._sparse = masks, self.dense - spared
        dense = self.dense if self.session.dense_gradients else self._sparse
        self.total += 2 * self._sparse + dense
        self.steps += 1
