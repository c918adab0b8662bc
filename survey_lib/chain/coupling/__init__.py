"""Coupled channels of a network, found by labels run through its own operations."""

from survey_lib.chain.coupling.groups import ChannelGroup, Coupling, Slice, group_masks
from survey_lib.chain.coupling.rules.table import register
from survey_lib.chain.coupling.tracer import trace

__all__ = ["ChannelGroup", "Coupling", "Slice", "group_masks", "register", "trace"]
