"""The first record of what a data layer reads, for its size: an LMDB, HDF5 files, a mean image."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

from deepmerge.errors import ReadError
from deepmerge.formats import schema
from deepmerge.formats.messages import kind_of
from deepmerge.formats.read.binaryproto import read_mean
from deepmerge.formats.read.files import is_hdf5, read_text
from deepmerge.formats.read.lmdb_file import LmdbFile
from deepmerge.graph.shape_errors import Shape
from deepmerge.graph.tree import Message, Quoted


def record_shape(layer: Message, top: str, file) -> tuple[Shape, Path] | None:
    """Return the shape, without a batch, of what the layer reads for `top`, and the file that says so.

    None where no file that the layer names is there, or where it does not say; a damaged file says nothing.
    """
    folder = Path(file).parent
    reads = {"Data": ("data_param", _datum), "HDF5Data": ("hdf5_data_param", lambda path: _hdf5(path, top))}
    names = [(block, "source", read) for block, read in (reads[kind_of(layer)],)] if kind_of(layer) in reads else []
    for block, field, read in [*names, ("transform_param", "mean_file", lambda path: read_mean(path).shape)]:
        path = _named(layer.message(block), field, folder)
        try:
            shape = path and read(path)
        except ReadError:
            shape = None
        if shape and all(0 < n < 2**31 for n in shape):
            return tuple(int(n) for n in shape), path
    return None


def _named(block: Message | None, field: str, folder: Path) -> Path | None:
    """Return where a file is that a layer names: from the current folder, as in Caffe, from `folder`, or in it."""
    name = block.value(field) if block is not None else None
    if not isinstance(name, Quoted) or not name:
        return None
    places = (Path(name), folder / name, folder / Path(name).name)
    return next((place for place in places if os.path.exists(place)), None)


def _datum(path: Path) -> Shape | None:
    """Return (channels, height, width) of an LMDB's first Datum."""
    from google.protobuf.message import DecodeError

    if not os.path.isfile(path / "data.mdb"):
        return None
    records = LmdbFile(path, most=1)
    if not len(records):
        return None
    try:
        datum = schema.message_class("Datum").FromString(records[0][1])
    except DecodeError:
        return None
    return _picture(datum.data) if datum.encoded else (datum.channels, datum.height, datum.width)


def _picture(data: bytes) -> Shape | None:
    """Return (channels, height, width) of a picture, by its first bytes. OpenCV gives Caffe one channel or three."""
    from PIL import Image

    try:
        with Image.open(BytesIO(data)) as image:
            return (1 if image.mode in ("1", "L", "I;16") else 3, image.height, image.width)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _hdf5(path: Path, top: str) -> Shape | None:
    """Return the shape of one record in the first file that HDF5Data lists. Links out of it are not followed."""
    try:
        import h5py
    except ImportError:
        return None
    listed = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    places = [Path(listed[0]), path.parent / listed[0], path.parent / Path(listed[0]).name] if listed else []
    found = next((place for place in places if is_hdf5(place)), None)
    if found is None:
        return None
    try:
        with h5py.File(found, "r") as file:
            if not isinstance(file.get(top, getlink=True), h5py.HardLink) or not isinstance(file[top], h5py.Dataset):
                return None
            return tuple(file[top].shape[1:])
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, OverflowError):
        return None
