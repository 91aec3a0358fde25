"""What a snapshot of weights holds, whichever format it is in."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

MAX_AXES = 32  # Caffe: blob.hpp, kMaxBlobAxes


@dataclass
class StoredLayer:
    """One layer of a caffemodel: its name, its type, its blobs (float32, in the stored shapes), and what it read and made.

    phase: TRAIN or TEST, the phase of the network that was saved; "" where the file does not say.
    A blob is None where an HDF5 snapshot leaves it out, as it is shared with another layer.
    """

    name: str = ""
    type: str = ""
    blobs: list[np.ndarray | None] = field(default_factory=list)
    phase: str = ""
    bottoms: list[str] = field(default_factory=list)
    tops: list[str] = field(default_factory=list)
