"""Images in a NumPy archive, as pixels or as JPEG files one after the other."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np

from deepmerge.data.decode import decode
from deepmerge.data.images import Images, Picture
from deepmerge.errors import ReadError

MAX_BYTES = 4 << 30  # of all arrays, unpacked


def open_npz(spec: str, path: Path) -> Images:
    """Open an archive with `images`, or `jpeg` and `offsets`; both may come with `labels` (N) and `classes` (names).

    images: uint8 (N, H, W, 3), RGB. jpeg: uint8 (bytes), the files one after the other; offsets: (N + 1), where each
    begins and the last ends.
    """
    arrays = _arrays(path)
    classes = arrays.get("classes", np.array(()))
    if classes.ndim != 1:
        raise ReadError(f"`classes` is {classes.shape}; give a list of names", path)
    if "images" in arrays:
        count, pixels = _pixels(path, arrays["images"])
    elif "jpeg" in arrays and "offsets" in arrays:
        count, pixels = _coded(path, arrays["jpeg"], arrays["offsets"])
    else:
        raise ReadError("has neither `images` (N×H×W×3, uint8, RGB) nor `jpeg` with `offsets`", path)
    labels = arrays.get("labels")
    if labels is not None:
        _check_labels(path, labels, count)

    def read(index: int) -> Picture:
        return Picture(_name(path, index), pixels(index), None if labels is None else int(labels[index]))

    return Images(spec, count, read, tuple(map(str, classes)))


def _check_labels(path: Path, labels: np.ndarray, count: int) -> None:
    if labels.shape != (count,) or labels.dtype.kind not in "iuf":
        text = f"`labels` is {labels.shape}, {labels.dtype}; there are {count} images, so give {count} integers"
        raise ReadError(text, path)
    if not np.isfinite(labels).all():
        raise ReadError("`labels` holds a NaN or an infinity; give integers", path)
    if (labels != np.trunc(labels)).any():
        raise ReadError("`labels` holds what is no integer; give integers", path)
    if (np.abs(labels) >= 1 << 62).any():
        raise ReadError("`labels` holds a number that is too large for a class; give integers from 0 on", path)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays that we know. The sizes that they claim are added up before any is unpacked."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = [key for key in ("images", "jpeg", "offsets", "labels", "classes") if key in archive]
            sizes = {info.filename.removesuffix(".npy"): info.file_size for info in archive.zip.infolist()}
            if (size := sum(sizes[name] for name in names)) > MAX_BYTES:
                text = f"holds {size / 1e9:.1f} GB of arrays, more than {MAX_BYTES / 1e9:.1f}"
                raise ReadError(text, path, remedy="divide it, or give lmdb:PATH")
            return {name: _array(archive, name, sizes[name]) for name in names}
    except FileNotFoundError:
        raise ReadError("no such file", path) from None
    except ReadError:
        raise
    except Exception as error:  # numpy and zipfile raise all kinds on broken files
        reason = getattr(error, "strerror", None) or "it is damaged, holds Python objects, or is another kind of file"
        raise ReadError(f"cannot be read as an npz file: {reason}", path) from None


def _array(archive, name: str, size: int) -> np.ndarray:
    """Read one array; ValueError if its header claims more than is there, since numpy would allocate that at once."""
    with archive.zip.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        if prod(shape) * dtype.itemsize > size:
            raise ValueError(f"{shape} of {dtype} in {size} bytes")
    return archive[name]


def _name(path: Path, index: int) -> str:
    return f"{path}[{index}]"


def _pixels(path: Path, images: np.ndarray):
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8 or 0 in images.shape[1:]:
        raise ReadError(f"`images` is {images.shape}, {images.dtype}; it must be N×H×W×3, uint8, RGB", path)
    return len(images), lambda i: images[i]


def _coded(path: Path, jpeg: np.ndarray, offsets: np.ndarray):
    if jpeg.dtype != np.uint8 or offsets.dtype.kind not in "iu" or offsets.ndim != 1:
        text = f"`jpeg` is {jpeg.dtype} and `offsets` {offsets.dtype}, {offsets.shape}"
        raise ReadError(text, path, remedy="they must be uint8 and integers (N + 1)")
    blob, ends = jpeg.tobytes(), offsets.tolist()
    if ends != sorted(ends) or not ends or ends[0] < 0 or ends[-1] > len(blob):
        raise ReadError(f"`offsets` does not divide `jpeg`, {len(blob)} bytes, into images", path)
    return len(ends) - 1, lambda i: decode(blob[ends[i] : ends[i + 1]], _name(path, i))
