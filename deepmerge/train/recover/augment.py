"""Ever new images out of few: what the stage distill shows to both networks.

A network that sees the same images again and again learns its original's answers to them by heart, and not what it does
with others. No label has to stay right here, as the original answers whatever it is shown; so each image is shifted, and some
of them are mixed with another one. Sources: Zhang et al., "mixup" (arXiv 1710.09412); Beyer et al., "Knowledge distillation:
A good teacher is patient and consistent" (arXiv 2106.05237).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

import numpy as np

from deepmerge.train.shared.shifts import shifted

if TYPE_CHECKING:
    from torch import Tensor

MIXED = 0.25  # share of the images; with 0.5, 21,000 iterations of inception_mini fitted those it learned from no better than others
USES = 4  # times that a view is shown: asking the original takes longer than learning from its answer
_DRAWS = 2  # keeps these random numbers apart from the loader's


def all_varied(
    batches: Callable[[int], Generator[Tensor, None, None]], seed: int, first: int, period: int, start: int = 0
) -> Generator[Tensor, None, None]:
    """Batch `start` of a row without end, and those behind it: `period` batches as they are shown, over and over.

    batches: from its batch `first` on, a source's batches, which the row is made of.
    """
    while True:
        place = start % period
        source = batches(first + place)
        try:
            for index in range(place, period):
                yield varied(next(source), seed, first + index)
        finally:
            source.close()
        start = 0


def varied(images: Tensor, seed: int, index: int) -> Tensor:
    """Batch `index`, float32 (N, …), as it is shown: of the same shape, the same for the same seed and index.

    Arrays that are no images, (N, C, H, W), are mixed only.
    """
    rng = np.random.default_rng([seed, _DRAWS, index])
    moved = shifted(images, rng) if images.dim() == 4 else images
    return _mixed(moved, rng)


def _mixed(images: Tensor, rng: np.random.Generator) -> Tensor:
    import torch

    count = len(images)
    shares = np.where(rng.random(count) < MIXED, rng.random(count), 1.0).astype(np.float32)
    share = torch.from_numpy(shares).to(images.device).reshape(-1, *[1] * (images.dim() - 1))
    return torch.lerp(images.roll(1, 0), images, share)
