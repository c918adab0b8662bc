"""Cutting channels out of a model, with a plan, a check in float64 and a file."""
