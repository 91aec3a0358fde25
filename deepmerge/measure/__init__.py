"""Measure networks: accuracy, time, memory, energy, and how far two networks are apart."""

WHAT = ("time", "memory", "energy")  # what bench measures in addition to sizes
