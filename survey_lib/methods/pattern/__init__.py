"""Methods that remove units between a weight and a filter."""
