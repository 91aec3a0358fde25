"""What the layers of a network are fed, measured on calibration images."""

from deepmerge.convert.calibrate.images import CalibrationImages

__all__ = ["CalibrationImages"]
