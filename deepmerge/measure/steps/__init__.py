"""A conversion as a table: what each step cost in accuracy, what recovery gave back, and what it gained in time."""

from deepmerge.measure.steps.job import Job, run

__all__ = ["Job", "run"]
