"""Methods of the category depth."""
