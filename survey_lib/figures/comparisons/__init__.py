"""Figures of the notebooks 12 to 21, on speed, comparisons, controls and literature."""
