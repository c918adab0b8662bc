"""Data sets: where they come from, how they are loaded, and corrupted copies of test sets."""
