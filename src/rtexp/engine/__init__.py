"""Exactly-once batches inside Faust; knows nothing of experiments. Start with `api`."""
