"""Metrics for Prometheus: one table of definitions, and what fills it when somebody asks."""
