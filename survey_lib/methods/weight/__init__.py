"""Methods that remove single weights: scores, and rules that act during training."""
