"""How good a network is: accuracy with labels, agreement with another network without."""

from deepmerge.measure.accuracy.job import Job, run
from deepmerge.measure.accuracy.measure import Settings, measure

__all__ = ["Job", "Settings", "measure", "run"]
