"""Compare two networks: the same inputs through both, output by output and blob by blob."""

from deepmerge.measure.compare.compare import Job, verify

__all__ = ["Job", "verify"]
