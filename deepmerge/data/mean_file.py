"""The mean image that a data layer names: find it, read it, cut it to the network's input."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from deepmerge.errors import ReadError
from deepmerge.formats.read.binaryproto import read_mean


def find_mean_file(name: str, folder: Path) -> Path | None:
    """Return where the file is: from the current folder, as in Caffe, or from `folder`, or in it; None if nowhere."""
    places = (Path(name), folder / name, folder / Path(name).name)
    return next((place for place in places if os.path.isfile(place)), None)  # also False for what cannot be a name


def whole_mean(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return the mean image, float32 (C, height, width), for an input of `shape` (N, C, H, W), which may be smaller.

    Raises ReadError if the mean is smaller, or has other channels.
    """
    mean = read_mean(path)
    channels, height, width = shape[1:]
    if mean.shape[0] != channels or mean.shape[1] < height or mean.shape[2] < width:
        found, wanted = ("×".join(map(str, sizes)) for sizes in (mean.shape, shape[1:]))
        text = f"is a mean of {found} (channels×height×width), and the network takes {wanted}"
        raise ReadError(text, path, remedy="--mean says what to subtract")
    return mean


def centre_of(mean: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return what Caffe subtracts in the TEST phase from the centre of a picture as large as the mean: (C, H, W).

    Caffe: data_transformer.cpp, Transform.
    """
    height, width = shape[2:]
    top, left = (mean.shape[1] - height) // 2, (mean.shape[2] - width) // 2
    return mean[:, top : top + height, left : left + width]
