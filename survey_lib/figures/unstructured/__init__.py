"""Figures of the notebooks 01 to 06, on pruning single weights."""
