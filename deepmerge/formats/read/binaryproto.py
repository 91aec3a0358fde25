"""Mean images (`.binaryproto`): a BlobProto alone in a file. Caffe: compute_image_mean.cpp, data_transformer.cpp."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deepmerge.errors import ReadError
from deepmerge.formats.read.caffemodel import read_blob
from deepmerge.formats.read.files import looks_like_text, map_file


def read_mean(path: str | Path) -> np.ndarray:
    """Return the mean image, float32 (channels, height, width), its channels in the network's order.

    ReadError if the file is not one.
    """
    data = map_file(path)
    try:
        mean = read_blob(data, 0, len(data))
    except ReadError as error:
        what = (
            "is text, not a mean image"
            if looks_like_text(data)
            else f"is not a mean image (a BlobProto), or a damaged one: {error}"
        )
        raise ReadError(f"{what}; give the .binaryproto file that compute_image_mean wrote", path) from None
    if mean.ndim == 4 and mean.shape[0] == 1:
        mean = mean[0]
    if mean.ndim != 3 or 0 in mean.shape:
        raise ReadError(f"holds a blob of shape {mean.shape}, and a mean image is (1, channels, height, width)", path)
    return mean
