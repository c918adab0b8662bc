"""survey_lib: neural network pruning, from formula to mask to cut network to measured time.

>>> import survey_lib, torch
>>> result = survey_lib.prune(torch.nn.Sequential(torch.nn.Linear(4, 2)), "magnitude", sparsity=0.5)
>>> result.sparsity
0.5
"""

from survey_lib.catalogue import METHODS
from survey_lib.chain.masks import hold, masks_from_torch
from survey_lib.experiment.sweeps.store import results
from survey_lib.measure import latency, measure
from survey_lib.prune import PruneResult, during, load, prune, save

__version__ = "0.1.0"
__all__ = ["METHODS", "PruneResult", "during", "hold", "latency", "load", "masks_from_torch", "measure", "prune",
           "results", "save"]  # fmt: skip
