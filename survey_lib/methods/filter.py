"""Methods of the category filter."""
