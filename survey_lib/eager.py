"""Eager torch without `torch._dynamo`, the compiler.

Torch imports it, in two to three seconds, even where nothing is compiled: at the first step of an optimizer, and
at the first operator under a dispatch mode.
"""

import inspect

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class EagerMode(TorchDispatchMode):
    """A dispatch mode whose `__torch_dispatch__` is called as it stands."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


def optimizer(cls: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """The optimizer class, with the same steps, called as they stand.

    Parameters
    ----------
    cls : type[torch.optim.Optimizer]
        An optimizer of torch.

    Examples
    --------
    >>> one = optimizer(torch.optim.SGD)([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    >>> isinstance(one, torch.optim.SGD)
    True
    """
    names = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    plain = {name: inspect.unwrap(getattr(cls, name)) for name in names}
    step = torch.no_grad()(inspect.unwrap(cls.step))
    return type(cls.__name__, (cls,), {"step": step, **plain})
