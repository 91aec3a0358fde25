"""Images as every source gives them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Picture:
    """One image. pixels: RGB, uint8, (H, W, 3). label: the class's index, None where the source has none."""

    name: str
    pixels: np.ndarray
    label: int | None = None


@dataclass(frozen=True)
class Images:
    """A source of `count` images. `read(index)` gives a Picture, or raises ReadError for that image alone.

    classes: the classes' names by label, () where the source has none.
    """

    spec: str
    count: int
    read: Callable[[int], Picture]
    classes: tuple[str, ...] = ()
