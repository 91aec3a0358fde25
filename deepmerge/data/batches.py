"""Pictures → one float32 array, many at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from deepmerge.data.resize import neighbours

if TYPE_CHECKING:
    from deepmerge.data.preprocess import Preprocessing

# weights of red, green, blue; ITU-R BT.601, as OpenCV reads images for Caffe
GREY = np.array([0.299, 0.587, 0.114], np.float32)
_TOGETHER = 1 << 18  # values that are made at a time: what a core's cache holds


def make_batch(
    pictures: Sequence[np.ndarray], how: Preprocessing, channels: int, draws: np.ndarray | None = None
) -> np.ndarray:
    """Preprocess pictures into one array. Each gets the same bytes in a batch of any size. Caffe: data_transformer.cpp.

    Parameters
    ----------
    pictures : (H, W, 3 or 1) each, uint8
        They may differ in size if `how` makes them one.
    how
        What is done to them.
    channels
        The network's input channels.
    draws : (N, 3), in [0, 1)
        What is random in training: the crop's place down and across, and whether to mirror (below 0.5). None for the
        centre, unmirrored.

    Returns
    -------
    (N, channels, h, w), float32

    Raises
    ------
    ReadError
        A picture is smaller than the crop, or has other channels; see Preprocessing.check.
    """
    height, width = how.size(pictures[0].shape[:2])
    out = np.empty((len(pictures), channels, height, width), np.float32)
    windowed = draws is not None and how.crop is not None  # each picture has a window of its own
    for start, stop in _runs(pictures, 1 if windowed else max(1, _TOGETHER // out[0].size)):
        how.check(pictures[start].shape, channels)
        room = how.room(pictures[start].shape[:2])
        at = tuple(int(draws[start, i] * (room[i] + 1)) for i in (0, 1)) if windowed else (room[0] // 2, room[1] // 2)
        _make(out[start:stop], np.stack(pictures[start:stop]), how, at)
    if draws is not None and how.mirror:
        turned = np.flatnonzero(draws[:, 2] < 0.5)
        out[turned] = out[turned, :, :, ::-1]
    return out


def _runs(pictures: Sequence[np.ndarray], most: int) -> Iterator[tuple[int, int]]:
    """Yield start and stop of runs of pictures of one shape, in pieces of up to `most`."""
    start = 0
    for stop in range(1, len(pictures) + 1):
        if stop == len(pictures) or stop - start == most or pictures[stop].shape != pictures[start].shape:
            yield start, stop
            start = stop


def _make(out: np.ndarray, pixels: np.ndarray, how: Preprocessing, at: tuple[int, int]) -> None:
    """Preprocess pixels (n, H, W, c) into out (n, C, h, w). at: the crop's top and left."""
    sizes = pixels.shape[1:3]
    new = how.resized(sizes)
    rows, columns = (slice(start, start + size) for start, size in zip(at, out.shape[2:], strict=True))
    planes = _planes(pixels, out.shape[1], how.channel_order)
    if new == sizes:
        out[...] = planes[:, :, rows, columns]
    else:
        above, below, down = (n[rows] for n in neighbours(sizes[0], new[0]))
        left, right, across = (n[columns] for n in neighbours(sizes[1], new[1]))
        first = planes[:, :, above].astype(np.float32, copy=False)
        mixed = first + (planes[:, :, below].astype(np.float32, copy=False) - first) * down[:, None]
        mixed = np.ascontiguousarray(mixed)
        np.take(mixed, left, axis=3, out=out, mode="clip")
        apart = np.take(mixed, right, axis=3, mode="clip")
        apart -= out
        apart *= across
        out += apart
    how.normalise(out, at, new)


def _planes(pixels: np.ndarray, channels: int, order: str) -> np.ndarray:
    """Return pixels (n, H, W, c) as planes (n, channels, H, W) in the network's order, as a view if possible."""
    if pixels.shape[3] != channels:  # 3 for 1
        return (pixels.astype(np.float32) @ GREY)[:, None]
    planes = np.moveaxis(pixels, 3, 1)
    return planes[:, ::-1] if channels == 3 and order == "bgr" else planes
