"""Where a network's time goes: by layer, by type, by step, on each engine; networks side by side."""

from deepmerge.measure.profile.measure import Settings, profile

__all__ = ["Settings", "profile"]
