"""What `prune` does for weights, for channels and for whole blocks, one module each."""
