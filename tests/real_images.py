"""Real photographs for tests and benchmarks: CIFAR-10's, as shared/data/README.md describes them, and LMDBs of them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

MEAN = np.array([104, 117, 123], np.float32)  # blue, green, red


def read_npz(path: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first images, uint8 (count, 32, 32, 3), RGB, and their labels."""
    from PIL import Image

    with np.load(path) as archive:
        coded, at, labels = archive["jpeg"], archive["offsets"], archive["labels"][:count]
        files = [coded[at[i] : at[i + 1]].tobytes() for i in range(len(labels))]
    return np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files]), labels


def resized(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, half-pixel centres, no antialiasing: (N, h, w, 3) → float32 (N, height, width, 3)."""
    rows, columns = _mix(images.shape[1], height), _mix(images.shape[2], width)
    return np.einsum("Hh,nhwc,Ww->nHWc", rows, images.astype(np.float32), columns, optimize=True)


def prepared(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """What the zoo's networks are fed: float32 (N, 3, height, width), BGR, the mean subtracted."""
    blue_first = resized(images, height, width)[..., ::-1] - MEAN
    return np.ascontiguousarray(np.moveaxis(blue_first, 3, 1), np.float32)


def write_lmdb(path: Path, images: np.ndarray, labels: np.ndarray, height: int, width: int) -> None:
    """An LMDB of Caffe's Datums, uint8, BGR, as convert_imageset writes it."""
    import lmdb

    from deepmerge.formats import schema

    datum = schema.message_class("Datum")
    pixels = np.moveaxis(resized(images, height, width)[..., ::-1], 3, 1).round().astype(np.uint8)
    with lmdb.open(str(path), map_size=1 << 28) as database, database.begin(write=True) as transaction:
        for i, (image, label) in enumerate(zip(pixels, labels, strict=True)):
            one = datum(channels=3, height=height, width=width, data=image.tobytes(), label=int(label))
            transaction.put(b"%08d" % i, one.SerializeToString())


def _mix(old: int, new: int) -> np.ndarray:
    """(new, old) float32: what share each old place has in each new one."""
    place = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    low = np.minimum(place.astype(int), old - 2)
    mix = np.zeros((new, old), np.float32)
    mix[np.arange(new), low] = 1 - (place - low)
    mix[np.arange(new), low + 1] = place - low
    return mix
