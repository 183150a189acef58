"""Whether Kafka can be reached as the settings say, and if not, why."""
