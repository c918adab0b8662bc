"""Parameters, MACs, sparsity, storage and time of anyone's model, without leaving a trace in it."""

from survey_lib.measure.counts import measure, reductions, sparsity
from survey_lib.measure.storage import sizes
from survey_lib.measure.timing import compare_latency, latency, machine, stopwatch

__all__ = ["compare_latency", "latency", "machine", "measure", "reductions", "sizes", "sparsity", "stopwatch"]
