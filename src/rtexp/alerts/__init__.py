"""Alerts where people are: from the topics to webhooks, mail and the log."""
