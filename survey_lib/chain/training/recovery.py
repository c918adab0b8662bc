"""Recovery after pruning: fine-tuning with masks held and with a teacher, and batch-norm statistics estimated again."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_map_only
from tqdm import tqdm

from survey_lib.chain import inputs
from survey_lib.chain import masks as masking
from survey_lib.chain.evidence.base import pairs
from survey_lib.chain.evidence.weights import call, class_scores, loss_of
from survey_lib.chain.inputs import check_data, check_kind, check_values, duplicate, untouched, unwrap
from survey_lib.chain.training.descent import descend, make_optimizer

TAUGHT, TEMPERATURE = 0.9, 4.0  # the teacher's share of the loss, and how soft its classes are
MASKED_FROM = 1e-3  # share of exact zeros from which on a weight is taken for a masked one


def finetune(
    model: nn.Module,
    batches: Iterable,
    *,
    epochs: int,
    lr: float = 0.02,
    masks: Mapping[str, Tensor] | None = None,
    teacher: nn.Module | None = None,
    loss: Callable[[object, Tensor], Tensor] | None = None,
) -> nn.Module:
    """Return a copy of the model trained on `batches`: the course's own loop, for anyone's model.

    SGD with Nesterov momentum 0.9 and weight decay 5e-4 minimises L = loss(output, target). The learning rate
    runs through one cycle: a cosine from lr/25 up to `lr` over the first 30 % of the steps, then down to 0.
    With a teacher, usually the dense parent, the model learns the teacher's softened classes as well (Hinton
    et al. 2015, arXiv 1503.02531): (1 − w) · L + w · T² · KL(softmax(z_teacher / T) ‖ softmax(z / T)), a mean
    over the examples. The factor T² keeps the gradient of the second term at the same size whatever
    T is. T = 4 and w = 0.9.

    Parameters
    ----------
    model : nn.Module
        Any model; it is not changed. Scores are its output or, as in transformers, the `logits` of its
        output: (n, classes, ...), or (n, length, classes) for targets (n, length), as language models return
        them.
    batches : iterable
        (input, target) pairs, as many in every epoch: a list or a DataLoader. An input is a tensor, a tuple
        of arguments or a dict of named ones. Both are moved to the device of the model.
    epochs, lr : int, float
        Passes over `batches`, and the highest learning rate.
    masks : mapping, optional
        {tensor name: bool tensor}, True = kept; what they remove is zero after every step. Without them a
        masked model grows its zeros back, which is warned about.
    teacher : nn.Module, optional
        Runs in eval mode on the same inputs and is not changed. Its scores are (n, classes, ...) as the
        model's.
    loss : callable, optional
        loss(output, target); the cross-entropy of the scores if left out.

    Raises
    ------
    ValueError
        For batches that are empty, are no pairs or last for one epoch only; for epochs or lr out of
        range; for a frozen model; for masks that do not fit it; for a teacher that knows
        other classes.
    FloatingPointError
        If the loss is no longer finite.

    Examples
    --------
    >>> batches = [(torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1]))] * 10
    >>> finetune(nn.Linear(1, 2), batches, epochs=5, lr=0.5)(batches[0][0]).argmax(1).tolist()
    [0, 1]
    """
    models = [model] if teacher is None else [model, teacher]
    for one in models:
        check_kind(unwrap(one))
    check_data("finetune", batches, loss)
    inputs.whole(epochs=epochs)
    inputs.positive(lr=lr)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError("every parameter is frozen; call model.requires_grad_(True) first")
    if iter(batches) is batches:
        raise ValueError("batches is an iterator, empty after one epoch; pass a list or a DataLoader")
    student = duplicate(unwrap(model))
    optimizer = make_optimizer(student, "sgd", lr, weight_decay=5e-4)
    if masks:
        masking.hold(student, masks, optimizer)
    else:
        _warn_of_zeros(student)
    parent = duplicate(unwrap(teacher)).eval() if teacher else None

    def objective(x, y: Tensor) -> Tensor:
        output = call(student, x)
        value = loss_of(loss, output if loss else scores(output, y), y)
        if parent is None:
            return value
        with torch.no_grad():
            target = scores(call(parent, x), y)
        return (1 - TAUGHT) * value + TAUGHT * distillation(scores(output, y), target, TEMPERATURE)

    try:
        steps = len(batches)
    except TypeError:  # a DataLoader over an iterable data set knows no length
        steps = sum(1 for _ in batches)

    def shown(epoch: int) -> Iterator[tuple]:
        return tqdm(_pairs(batches, student), f"epoch {epoch + 1}/{epochs}", steps, disable=None)

    course = {"lr": lr, "schedule": "one-cycle", "epochs": epochs, "steps": steps}
    with untouched(*models):
        list(descend(student, shown, optimizer, objective, **course))
    optimizer.zero_grad()
    for module, original in zip(student.modules(), unwrap(model).modules(), strict=True):
        module.training = original.training
    return student


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
        what = f"statistics of {bad[0] or 'the norm'} are not finite on these batches"
        raise ValueError(f"{what}; look for NaN in them and in the weights")
    for name, norm in norms.items():
        if norm.num_batches_tracked:
            result.get_submodule(name).load_state_dict(norm.state_dict())
    return result


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² · KL(softmax(z_teacher / T) ‖ softmax(z / T)), a mean over examples and positions.

    Parameters
    ----------
    student : Tensor
        Class scores z, classes on axis 1.
    teacher : Tensor
        Class scores z_teacher.
    temperature : float
        Temperature T.

    Examples
    --------
    >>> float(distillation(torch.zeros(1, 2), torch.zeros(1, 2), 4.0))
    0.0
    """
    if student.shape != teacher.shape:
        shapes = f"{tuple(teacher.shape)}, the model's {tuple(student.shape)}"
        raise ValueError(f"the teacher's scores are {shapes}; use a teacher of the same classes")
    soft = [(z / temperature).log_softmax(1) for z in (student, teacher)]
    return temperature**2 * F.kl_div(*soft, reduction="none", log_target=True).sum(1).mean()


def scores(output, target: Tensor) -> Tensor:
    """Class scores (n, classes, ...) in what a model returned: the output itself or its `logits`.

    Language models return (n, length, classes) for targets (n, length); then the classes are moved to axis 1.

    Parameters
    ----------
    output : tensor or object
        What the model returned.
    target : Tensor
        Targets, for their shape.

    Examples
    --------
    >>> scores(torch.zeros(2, 7, 512), torch.zeros(2, 7)).shape
    torch.Size([2, 512, 7])
    """
    found = class_scores(output)
    last = found.dim() > 2 and found.shape[:-1] == target.shape
    if last and found.shape[1] == found.shape[2]:
        what = f"scores of shape {tuple(found.shape)} have as many classes as positions"
        raise ValueError(f"{what}, so either axis may be the classes; use inputs of another length")
    return found.movedim(-1, 1) if last else found


def _pairs(batches: Iterable, model: nn.Module) -> Iterator[tuple]:
    """The (input, target) pairs, on the device of the model."""
    device = next(model.parameters()).device
    for batch in batches:
        pair = isinstance(batch, tuple | list) and len(batch) == 2 and isinstance(batch[1], Tensor)
        if not pair or not batch[1].numel():
            wanted = "an (input, target) pair with a tensor as target, not empty"
            raise ValueError(f"a batch must be {wanted}; got {inputs.described(batch)}")
        yield tree_map_only(Tensor, lambda tensor: tensor.to(device), tuple(batch))


def _warn_of_zeros(model: nn.Module) -> None:
    share = {name: float((weight == 0).float().mean()) for name, weight in masking.prunable(model).items()}
    masked = [name for name, zeros in share.items() if MASKED_FROM < zeros < 1]
    if masked:
        warnings.warn(
            f"{masked[0]} is {share[masked[0]]:.0%} exact zeros and no masks are given, so training fills them; "
            "pass masks=result.masks to keep them",
            stacklevel=3,
        )
