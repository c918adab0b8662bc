"""Training around the masks: the loop, sessions of methods that act while training, recovery."""
