"""Calibration: what the layers of a network read, measured on images."""

from deepmerge.convert.calibrate.images import CalibrationImages

__all__ = ["CalibrationImages"]
