"""Methods that remove coupled channels."""
