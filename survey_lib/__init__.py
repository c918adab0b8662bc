"""survey_lib: neural network pruning, from formula to mask to cut network to measured time.

>>> import survey_lib, torch
>>> result = survey_lib.prune(torch.nn.Sequential(torch.nn.Linear(4, 2)), "magnitude", sparsity=0.5)
>>> result.sparsity
0.5
"""

import importlib
import sys
import types

__version__ = "0.1.0"

# Module -> its public names. Nothing is imported before it is used: torch alone takes more than a second.
_NAMES = {
    "catalogue": ["METHODS"],
    "chain.coupling": ["register", "trace"],
    "chain.masks": ["hold", "masks_from_torch"],
    "chain.surgery.cut": ["cut"],
    "chain.training.recovery": ["finetune", "recalibrate"],
    "experiment.sweeps.store": ["results"],
    "measure": ["latency", "measure"],
    "prune": ["PruneResult", "during", "load", "prune", "save"],
}
_WHERE = {name: module for module, names in _NAMES.items() for name in names}
__all__ = list(_WHERE)


class _Lazy(types.ModuleType):
    """Imports a public name when it is first asked for."""

    def __getattr__(self, name: str) -> object:
        if name not in _WHERE:
            raise AttributeError(f"survey_lib has no attribute {name!r}; it has: {', '.join(_WHERE)}")
        value = getattr(importlib.import_module(f"survey_lib.{_WHERE[name]}"), name)
        setattr(self, name, value)
        return value

    def __setattr__(self, name: str, value: object) -> None:
        # `prune` is the function, not its module
        if not (name in _WHERE and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *_WHERE})


sys.modules[__name__].__class__ = _Lazy
