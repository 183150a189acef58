"""Pages and API over what stands in SQL; nothing here asks Kafka or a worker."""
