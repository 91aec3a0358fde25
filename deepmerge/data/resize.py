"""Bilinear resizing with half-pixel centres and without antialiasing, as OpenCV and PyTorch do it by default.

Pillow's resize differs: it widens its filter when it shrinks an image.
"""

from __future__ import annotations

import numpy as np


def resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize `pixels` (H, W, C), any dtype; return float32 (height, width, C) in the same units, not rounded."""
    if pixels.shape[:2] == (height, width):
        return pixels.astype(np.float32)
    above, below, down = neighbours(pixels.shape[0], height)
    rows = _between(pixels[above], pixels[below], down[:, None, None])
    left, right, across = neighbours(pixels.shape[1], width)
    return _between(rows[:, left], rows[:, right], across[None, :, None])


def neighbours(size: int, new_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each new index the old indices before and after it, and how far (0..1) it is towards the latter."""
    centre = np.clip((np.arange(new_size) + 0.5) * (size / new_size) - 0.5, 0, size - 1)
    first = np.floor(centre).astype(np.intp)
    return first, np.minimum(first + 1, size - 1), (centre - first).astype(np.float32)


def _between(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    first = first.astype(np.float32)
    return first + (second.astype(np.float32) - first) * share
