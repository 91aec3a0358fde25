"""The paper's initial weights of merged layers: random, like those of Caffe's xavier filler, but repeatable.

Source: Caffe, filler.hpp, XavierFiller (uniform within ±sqrt(3 / fan_in)).
"""

from __future__ import annotations

from math import prod

import numpy as np


def xavier(shape: tuple[int, ...]) -> np.ndarray:
    """Return float32 weights of the shape (num_output, …); the same shape always gives the same values."""
    limit = np.sqrt(3.0 / max(prod(shape[1:]), 1))
    return np.random.default_rng(shape).uniform(-limit, limit, shape).astype(np.float32)
