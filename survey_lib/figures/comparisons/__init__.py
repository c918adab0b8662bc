"""Figures of the notebooks 12 to 19, on speed, comparisons, controls and literature."""
