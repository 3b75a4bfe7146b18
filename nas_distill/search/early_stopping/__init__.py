"""Early stopping: asynchronous successive halving (ASHA) for several objectives. Plain arithmetic, no Ray."""
