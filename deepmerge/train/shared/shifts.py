"""Images shifted at random, so that few say much: a network that sees them again and again must not learn them by heart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

SHIFT = 1 / 8  # of height and width, at most


def shifted(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Each image, (N, C, H, W), shifted by up to SHIFT of its sides; what comes in at an edge repeats it. The same shape."""
    import torch

    count, _, height, width = images.shape
    rows, columns = (
        (np.arange(size) + rng.integers(-int(size * SHIFT), int(size * SHIFT) + 1, (count, 1))).clip(0, size - 1)
        for size in (height, width)
    )
    rows, columns = (torch.from_numpy(axis).to(images.device) for axis in (rows, columns))
    place = torch.arange(count, device=images.device)[:, None, None]
    taken = images.movedim(1, -1)[place, rows[:, :, None], columns[:, None, :]]
    return taken.movedim(-1, 1)
