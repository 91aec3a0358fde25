"""Images in an LMDB of Caffe's Datums, as `convert_imageset` writes it."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np

from deepmerge.data.decode import decode
from deepmerge.data.images import Images, Picture
from deepmerge.errors import ReadError
from deepmerge.formats import schema
from deepmerge.formats.read.lmdb_file import LmdbFile


def open_lmdb(spec: str, path: Path) -> Images:
    """Open the Datums, in the order of their keys. Their pixels are taken as BGR, as OpenCV gives them to Caffe."""
    if not path.exists():
        raise ReadError("no such LMDB", path)
    file = LmdbFile(path)

    def read(index: int) -> Picture:
        key, value = file[index]
        return picture(value, f"{path}[{key.decode('utf-8', 'replace')}]")

    return Images(spec, len(file), read)


def picture(datum: bytes, name: str) -> Picture:
    """Return a serialized Datum as a picture; ReadError if it holds no image.

    Any number of channels makes a picture: whether it fits a network is checked by the preprocessing.
    """
    from google.protobuf.message import DecodeError

    try:
        parsed = schema.message_class("Datum").FromString(datum)
    except DecodeError:
        raise ReadError("is not a Datum", name) from None
    if parsed.encoded:
        return Picture(name, decode(parsed.data, name), parsed.label)
    shape = (parsed.channels, parsed.height, parsed.width)
    if min(shape) < 1 or len(parsed.data) != prod(shape):
        what = "floats" if len(parsed.float_data) else f"{len(parsed.data)} bytes"
        raise ReadError(f"holds {what} for {'×'.join(map(str, shape))}, not the bytes of an image", name)
    planes = np.frombuffer(parsed.data, np.uint8).reshape(shape)
    rgb = planes[::-1] if parsed.channels == 3 else planes
    return Picture(name, np.ascontiguousarray(np.moveaxis(rgb, 0, 2)), parsed.label)
