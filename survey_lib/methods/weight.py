"""Methods of the category weight."""
