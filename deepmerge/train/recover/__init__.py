"""Recovering what approximate steps have cost, without labels: each merged segment learns to do what the original does."""
