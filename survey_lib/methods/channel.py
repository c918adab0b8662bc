"""Methods of the category channel."""
