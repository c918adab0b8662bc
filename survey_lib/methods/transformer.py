"""Methods of the category transformer."""
