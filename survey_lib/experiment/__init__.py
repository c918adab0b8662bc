"""Data and networks, one run, many runs, and measured speed."""
