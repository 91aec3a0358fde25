"""The paper's start for merged layers: random, as Caffe's xavier filler draws it, but repeatable.

Source: Caffe, filler.hpp, XavierFiller (uniform within ±sqrt(3 / fan_in)).
"""

from __future__ import annotations

from math import prod

import numpy as np


def xavier(shape: tuple[int, ...]) -> np.ndarray:
    """float32 weights of the shape (num_output, …); the same shape always gives the same values."""
    limit = np.sqrt(3.0 / max(prod(shape[1:]), 1))
    return np.random.default_rng(shape).uniform(-limit, limit, shape).astype(np.float32)
