"""Records of runs: what they hold."""
