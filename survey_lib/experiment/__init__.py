"""One run and many runs: config, data, models, train, run, store, sweep."""
