"""The content of a caffemodel or an HDF5 snapshot."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class StoredLayer:
    """One stored layer. blobs: its weight blobs, float32, in the stored shapes.

    phase: TRAIN or TEST, the phase of the network that was saved; "" if the file does not say.
    A blob is None if an HDF5 snapshot leaves it out, because another layer that shares it has it.
    """

    name: str = ""
    type: str = ""
    blobs: list[np.ndarray | None] = field(default_factory=list)
    phase: str = ""
    bottoms: list[str] = field(default_factory=list)
    tops: list[str] = field(default_factory=list)
