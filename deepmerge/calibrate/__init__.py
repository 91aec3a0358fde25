"""What the layers of a network are fed, measured on calibration images."""

from deepmerge.calibrate.images import CalibrationImages

__all__ = ["CalibrationImages"]
