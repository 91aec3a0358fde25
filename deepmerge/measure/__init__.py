"""Measure networks: accuracy, time, memory, energy, and how far two networks are apart."""
