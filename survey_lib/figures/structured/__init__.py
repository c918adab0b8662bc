"""Figures of the notebooks 07 to 11, on pruning filters, channels, blocks and heads."""
