"""Training, tracing and counting do without torch's compiler, and train as torch's own optimizers do."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from survey_lib import eager

WITHOUT = """
import sys, torch, survey_lib
from survey_lib.chain.training.descent import make_optimizer
layer, x = torch.nn.Linear(4, 2), torch.ones(2, 4)
optimizer = make_optimizer(layer, "sgd", lr=0.1, weight_decay=0.0)
layer(x).sum().backward()
optimizer.step()
survey_lib.trace(torch.nn.Sequential(layer, torch.nn.Linear(2, 2)), x)
assert "torch._dynamo" not in sys.modules
"""


def test_a_step_and_a_trace_do_not_import_the_compiler():
    subprocess.run([sys.executable, "-c", WITHOUT], check=True)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
def test_the_steps_are_those_of_torch(kind):
    ends = []
    for cls in (kind, eager.optimizer(kind)):
        weight = nn.Parameter(torch.tensor([1.0, -2.0]))
        optimizer = cls([weight], lr=0.1, weight_decay=0.01)
        for _ in range(3):
            optimizer.zero_grad()
            (weight**2).sum().backward()
            optimizer.step()
        ends.append((weight.detach(), optimizer.state_dict()["param_groups"][0]["lr"], weight.requires_grad))
    assert torch.equal(ends[0][0], ends[1][0]) and ends[0][1:] == ends[1][1:]
