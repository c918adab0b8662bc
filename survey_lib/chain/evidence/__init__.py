"""What can be observed of a model: of its weights, its channel groups, its feature maps."""
