"""Networks side by side: time, size, memory, energy, largest batch, as in DeepRebirth's Tables 4, 5 and 6."""

from deepmerge.measure.bench.measure import Settings, bench

__all__ = ["Settings", "bench"]
