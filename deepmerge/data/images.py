"""Images as all sources give them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from deepmerge.errors import ReadError, SourceError


@dataclass(frozen=True)
class Picture:
    """One image. label: the class's index, None if the source has none.

    pixels: uint8, (H, W, channels): RGB, or one channel if the source stores one. In a `ready` source: float32 in the
    shape that the network takes, without the batch, such as (C, H, W).
    """

    name: str
    pixels: np.ndarray
    label: int | None = None


@dataclass(frozen=True)
class Images:
    """A source of `count` images. `read(index)` gives a Picture, or raises ReadError for that image alone.

    classes: the classes' names by label, () if the source has none.
    ready: the arrays are what the network is fed, without further preprocessing.
    gone: returns whether the whole source has gone; called when an image cannot be read.
    """

    spec: str
    count: int
    read: Callable[[int], Picture]
    classes: tuple[str, ...] = ()
    ready: bool = False
    gone: Callable[[], bool] = lambda: False

    def some(self, places: Sequence[int]) -> Images:
        """Return a source of the images at these places."""
        return replace(self, count=len(places), read=lambda index: self.read(places[index]))


def read_picture(images: Images, index: int) -> Picture:
    """Read one image; ReadError if only this image cannot be read, SourceError if the source has gone."""
    try:
        return images.read(index)
    except SourceError:
        raise
    except ReadError as error:
        if images.gone():
            raise SourceError(
                f"{images.spec}: the images are no longer there ({error}); bring them back, and start again"
            ) from None
        raise
