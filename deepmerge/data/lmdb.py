"""Images in an LMDB of Caffe's Datums, as `convert_imageset` writes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deepmerge import schema
from deepmerge.data.decode import decode
from deepmerge.data.sources import Images, Picture
from deepmerge.errors import ReadError


def open_lmdb(spec: str, path: Path) -> Images:
    """The Datums in the order of their keys. Their pixels are taken to be BGR, as OpenCV gives them to Caffe."""
    try:
        import lmdb
    except ImportError:
        raise ReadError("reading an LMDB takes the package lmdb: pip install lmdb", path) from None
    if not path.exists():
        raise ReadError("no such LMDB", path)
    try:
        database = lmdb.open(str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False)
        with database.begin() as transaction:
            keys = list(transaction.cursor().iternext(values=False))
    except lmdb.Error as error:
        raise ReadError(f"cannot be read as an LMDB: {error}", path) from None

    def read(index: int) -> Picture:
        with database.begin() as transaction:
            return picture(transaction.get(keys[index]), f"{path}[{keys[index].decode('utf-8', 'replace')}]")

    return Images(spec, len(keys), read)


def picture(datum: bytes, name: str) -> Picture:
    """A serialized Datum as a picture; ReadError where it holds no image of 1 or 3 channels."""
    from google.protobuf.message import DecodeError

    try:
        parsed = schema.message_class("Datum").FromString(datum)
    except DecodeError:
        raise ReadError("is not a Datum", name) from None
    if parsed.encoded:
        return Picture(name, decode(parsed.data, name), parsed.label)
    shape = (parsed.channels, parsed.height, parsed.width)
    if parsed.channels not in (1, 3) or len(parsed.data) != np.prod(shape):
        what = "floats" if len(parsed.float_data) else f"{len(parsed.data)} bytes"
        raise ReadError(f"holds {what} for {'×'.join(map(str, shape))}, not an image of 1 or 3 channels of bytes", name)
    planes = np.frombuffer(parsed.data, np.uint8).reshape(shape)
    rgb = planes[::-1] if parsed.channels == 3 else np.repeat(planes, 3, axis=0)
    return Picture(name, np.ascontiguousarray(np.moveaxis(rgb, 0, 2)), parsed.label)
