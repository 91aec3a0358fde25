"""Whole zoos: one manifest of models, each converted in a process of its own, with a durable result."""
