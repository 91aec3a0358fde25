"""Images as every source gives them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deepmerge.errors import ReadError, SourceError


@dataclass(frozen=True)
class Picture:
    """One image. label: the class's index, None where the source has none.

    pixels: uint8, (H, W, channels): RGB, or one channel where the source stores one. In a source that is `ready`,
    float32 in the shape that the network takes, without the batch, such as (C, H, W).
    """

    name: str
    pixels: np.ndarray
    label: int | None = None


@dataclass(frozen=True)
class Images:
    """A source of `count` images. `read(index)` gives a Picture, or raises ReadError for that image alone.

    classes: the classes' names by label, () where the source has none.
    ready: the arrays are what the network is fed; no preprocessing is left to do.
    gone: says whether nothing of the source is there any more; asked when an image cannot be read.
    """

    spec: str
    count: int
    read: Callable[[int], Picture]
    classes: tuple[str, ...] = ()
    ready: bool = False
    gone: Callable[[], bool] = lambda: False


def read_picture(images: Images, index: int) -> Picture:
    """One image; ReadError where it alone cannot be read, SourceError where the source has gone."""
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
