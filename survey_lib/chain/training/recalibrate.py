"""Batch-norm statistics estimated again on data, as a network needs after channels were cut."""

import warnings
from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from survey_lib.chain.evidence.base import pairs
from survey_lib.chain.evidence.weights import call
from survey_lib.chain.inputs import check_data, check_kind, check_values, duplicate, untouched, unwrap


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable) -> nn.Module:
    """Return a copy of the model whose batch-norm running statistics are estimated again over `batches`.

    Over batches t = 1 … T with batch means m_t and unbiased batch variances v_t, running_mean = Σ m_t / T and
    running_var = Σ v_t / T, whatever the momentum of the norms (Li et al. 2020, li2020eagleeye). Batch norms
    run in train mode and all else in eval mode, so dropout is off. Parameters, other buffers and modes are those
    of `model`; so are the statistics of norms that no batch reaches, such as those of auxiliary heads.

    Parameters
    ----------
    model : nn.Module
        Any model; it is not changed. Without batch norm an equal copy is returned, with a warning.
    batches : iterable
        Inputs (tensor or dict) or (input, target) pairs. Use training data, never the test split; a few hundred
        examples are enough. A batch of one example raises PyTorch's own error where a norm sees one value.

    Raises
    ------
    ValueError
        If `batches` is empty or one holds NaN or infinity, and where statistics would not be finite.

    Examples
    --------
    >>> norm = nn.BatchNorm1d(1).eval()
    >>> recalibrate(norm, [torch.tensor([[4.0], [6.0]]), torch.tensor([[0.0], [2.0]])]).running_mean
    tensor([3.])
    """
    check_kind(unwrap(model))
    check_data("recalibrate", batches)
    result = duplicate(unwrap(model))
    # Runs the batches: what else a forward writes does not reach the result
    subject = duplicate(result).eval()
    norms = {n: m for n, m in subject.named_modules() if isinstance(m, _BatchNorm) and m.track_running_stats}
    if not norms:
        warnings.warn("the model has no batch norm with running statistics, so nothing changes", stacklevel=3)
    for norm in norms.values():
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    number = 0
    with torch.random.fork_rng(), untouched(model):
        for number, batch in enumerate(batches, 1):
            check_values(f"batch {number}", batch)
            call(subject, pairs([batch])[0][0])
    if not number:
        raise ValueError("batches is empty; batch-norm statistics need at least one batch of training inputs")
    bad = [name for name, norm in norms.items() if not all(one.isfinite().all() for one in norm.buffers())]
    if bad:
        raise ValueError(
            f"statistics of {bad[0] or 'the norm'} are not finite on these batches; look for NaN in them and in the weights"
        )
    for name, norm in norms.items():
        if norm.num_batches_tracked:
            for buffer, value in result.get_submodule(name).named_buffers(recurse=False):
                value.copy_(getattr(norm, buffer))
    return result
