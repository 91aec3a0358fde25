"""Images in a NumPy archive, as pixels or as JPEG files one behind the other."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from deepmerge.data.decode import decode
from deepmerge.data.sources import Images, Picture
from deepmerge.errors import ReadError


def open_npz(spec: str, path: Path) -> Images:
    """`images`, uint8 (N, H, W, 3), RGB; or `jpeg`, uint8 (bytes), the files one behind the other, and `offsets`
    (N + 1), where each begins and the last ends. In both, `labels` (N) and `classes` (names) may be there, too.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in ("images", "jpeg", "offsets", "labels", "classes") if key in archive}
    except FileNotFoundError:
        raise ReadError("no such file", path) from None
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        reason = getattr(error, "strerror", None) or "it is damaged, holds Python objects, or is something else"
        raise ReadError(f"cannot be read as an npz file: {reason}", path) from None
    classes = tuple(str(name) for name in arrays.get("classes", ()))
    if "images" in arrays:
        count, pixels = _pixels(path, arrays["images"])
    elif "jpeg" in arrays and "offsets" in arrays:
        count, pixels = _coded(path, arrays["jpeg"], arrays["offsets"])
    else:
        raise ReadError("has neither `images` (N×H×W×3, uint8, RGB) nor `jpeg` with `offsets`", path)
    labels = arrays.get("labels")
    if labels is not None and labels.shape != (count,):
        raise ReadError(f"`labels` is {labels.shape}; there are {count} images", path)
    return Images(
        spec, count, lambda i: Picture(_name(path, i), pixels(i), None if labels is None else int(labels[i])), classes
    )


def _name(path: Path, index: int) -> str:
    return f"{path}[{index}]"


def _pixels(path: Path, images: np.ndarray):
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise ReadError(f"`images` is {images.shape}, {images.dtype}; it must be N×H×W×3, uint8, RGB", path)
    return len(images), lambda i: images[i]


def _coded(path: Path, jpeg: np.ndarray, offsets: np.ndarray):
    blob, ends = jpeg.tobytes(), [int(end) for end in offsets.ravel()]
    if offsets.ndim != 1 or ends != sorted(ends) or not ends or ends[0] < 0 or ends[-1] > len(blob):
        raise ReadError(f"`offsets` does not divide `jpeg`, {len(blob)} bytes, into images", path)
    return len(ends) - 1, lambda i: decode(blob[ends[i] : ends[i + 1]], _name(path, i))
