"""Methods that remove blocks, attention heads and feed-forward channels."""
