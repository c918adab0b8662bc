"""Many runs: studies, the store of results, engines and checks."""
