"""How good a network is: accuracy where there are labels, agreement with another network where there are none."""

from deepmerge.measure.accuracy.job import Job, run
from deepmerge.measure.accuracy.measure import Settings, measure

__all__ = ["Job", "Settings", "measure", "run"]
