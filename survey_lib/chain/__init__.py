"""The mechanics that every pruning method shares: evidence, score, select, mask, hold, cut."""
