"""Images and arrays in HDF5 files, for Caffe's HDF5Data and for us. This needs h5py (the extra `h5`).

A file holds either `data`, numbers (N, C, H, W): what a network is fed, without further preprocessing, as in Caffe's
HDF5Data; or `images`, uint8 (N, H, W, 3), RGB: pictures, as in npz files. Both may come with `label` or `labels`: (N)
whole numbers, which may be floats and have further axes of 1. Caffe: hdf5_data_layer.cpp.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from math import prod
from pathlib import Path

import numpy as np

from deepmerge.data.images import Images, Picture
from deepmerge.errors import ReadError, SourceError
from deepmerge.formats.read.files import is_hdf5, read_text
from deepmerge.text import flat

_CHUNKS = 64 << 20  # bytes of unpacked chunks that h5py keeps for each file
_LONGEST = 1 << 30  # bytes that one image may claim


def open_hdf5(spec: str, path: Path) -> Images:
    """Open an .h5 file, or a text file that lists several, one path a line, as HDF5Data's source does.

    Relative paths start at the current folder, as in Caffe, or at the list's. Raises ReadError if the data is missing.
    """
    files = [path] if is_hdf5(path) else _listed(path)
    parts = [_Part(file) for file in files]
    first = parts[0]
    for part in parts:
        if part.ready != first.ready or (part.ready and part.shape != first.shape):
            raise ReadError(f"holds {part}, and {first.path} {first}; they must be alike", part.path)
        if (part.labels is None) != (first.labels is None):
            raise ReadError(f"either it or {first.path} has no labels; all or none must have them", part.path)
    ends = list(accumulate(part.count for part in parts))

    def read(index: int) -> Picture:
        number = bisect_right(ends, index)
        return parts[number].picture(index - (ends[number] - parts[number].count))

    return Images(spec, ends[-1], read, ready=first.ready)


class _Part:
    """One open file. shape: that of one array, without the batch."""

    def __init__(self, path: Path):
        self.path = path
        h5py = _h5py(path)
        try:
            self.file = h5py.File(path, "r", rdcc_nbytes=_CHUNKS)
            found = {name: self.file[name] for name in ("data", "images", "label", "labels") if name in self.file}
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise ReadError(f"cannot be read as an HDF5 file: {flat(error)}", path) from None
        self.ready = "data" in found
        self.values = found.get("data", found.get("images"))
        self._check(h5py)
        self.count, *self.shape = self.values.shape
        self.labels = self._read_labels(h5py, found.get("label", found.get("labels")))

    def __str__(self) -> str:
        return f"`data`, N×{'×'.join(map(str, self.shape))}" if self.ready else "`images`"

    def _check(self, h5py) -> None:
        values = self.values
        if values is None:
            text = "has neither `data` (N×C×H×W, what the network is fed) nor `images` (N×H×W×3, uint8, RGB)"
            raise ReadError(text, self.path)
        if not isinstance(values, h5py.Dataset) or values.shape is None or values.dtype.kind not in "fiu":
            raise ReadError(f"{values.name} is not a data set of numbers", self.path)
        if values.ndim < 2 or 0 in values.shape[1:] or prod(values.shape[1:]) * 8 > _LONGEST:
            raise ReadError(
                f"{values.name} is {values.shape}; it must have images along the first axis, and values in each",
                self.path,
            )
        if not self.ready and (values.ndim != 4 or values.shape[3] != 3 or values.dtype != np.uint8):
            raise ReadError(f"`images` is {values.shape}, {values.dtype}; it must be N×H×W×3, uint8, RGB", self.path)
        if values.external:
            raise ReadError(f"{values.name} has its values in another file, which is not read", self.path)

    def _read_labels(self, h5py, found) -> np.ndarray | None:
        """Return one class for each image; None if the labels are fractions or several numbers."""
        if found is None:
            return None
        if (
            not isinstance(found, h5py.Dataset)
            or not found.shape
            or found.dtype.kind not in "fiu"
            or found.shape[0] != self.count
        ):
            raise ReadError(f"its labels are not one number for each of {self.count} images", self.path)
        if found.size != self.count or found.nbytes > _LONGEST:
            return None
        labels = self._reading(lambda: found[...].reshape(-1))
        whole = (
            np.isfinite(labels).all() and (np.abs(labels) < 1 << 62).all() and np.array_equal(labels, np.floor(labels))
        )
        return labels.astype(np.int64) if whole else None

    def picture(self, index: int) -> Picture:
        name = f"{self.path}[{index}]"
        values = self._reading(lambda: self.values[index])
        label = None if self.labels is None else int(self.labels[index])
        return Picture(name, values.astype(np.float32, copy=False) if self.ready else values, label)

    def _reading(self, read: Callable[[], np.ndarray]) -> np.ndarray:
        try:
            return read()
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise SourceError(f"{self.path}: can no longer be read, or is damaged: {flat(error)}") from None


def _listed(path: Path) -> list[Path]:
    names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not names:
        raise ReadError("lists no HDF5 files; give a path a line", path)
    found = []
    for name in names:
        places = (Path(name), path.parent / name)
        there = next((place for place in places if os.path.exists(place)), None)
        if there is None:
            raise ReadError(f"lists {name!r}, which is not there", path)
        if not is_hdf5(there):
            raise ReadError(f"is not an HDF5 file ({path} lists it)", there)
        found.append(there)
    return found


def _h5py(path):
    try:
        import h5py
    except ImportError:
        raise ReadError(
            "is an HDF5 file, and reading it needs h5py: `pip install 'deepmerge-caffe[h5]'`", path
        ) from None
    return h5py
