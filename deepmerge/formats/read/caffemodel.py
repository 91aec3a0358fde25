"""Caffemodel bytes → the layers' weights, as views on the mapped file.

Only the layers' names, types, phases, bottoms, tops and blobs are read; the prototxt counts for the rest.
Field numbers: proto/caffe.proto, NetParameter, LayerParameter, BlobProto.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deepmerge.errors import ReadError
from deepmerge.formats.read import wire
from deepmerge.formats.read.files import is_hdf5, looks_like_text, map_file
from deepmerge.formats.read.legacy import v0, v1
from deepmerge.formats.read.stored import StoredLayer
from deepmerge.graph.shape_errors import MAX_AXES
from deepmerge.names import decoded

_NET_LAYERS_V1, _NET_LAYER = 2, 100
_PHASES = {0: "TRAIN", 1: "TEST"}
_LEGACY_DIMS = (1, 2, 3, 4)  # num, channels, height, width
_BLOB_DATA, _BLOB_SHAPE, _BLOB_DOUBLE_DATA = 5, 7, 8
# NVCaffe's raw_data_type and raw_data (half precision), and its floating-point types. NVCaffe: caffe.proto
_RAW_TYPE, _RAW_DATA = 10, 12
_RAW_DTYPES = {0: "<f8", 1: "<f4", 2: "<f2"}
# Limits, as even empty layers take memory; ResNet-152 has 514 layers with 2,300 parts
MAX_LAYERS = 100_000
MAX_PARTS = 500_000  # blobs, bottoms and tops
MAX_NAME = 1 << 16  # bytes
MAX_VALUES = 1 << 40  # of a blob; numpy needs a limit even if another axis is 0


class _Numbers(NamedTuple):
    """The field numbers of a layer message; 0 for what it does not have."""

    name: int
    type: int
    blobs: int
    bottom: int = 0
    top: int = 0
    phase: int = 0


_V2, _V1, _V0 = _Numbers(1, 2, 7, bottom=3, top=4, phase=10), _Numbers(4, 5, 6, bottom=2, top=3), _Numbers(1, 2, 50)
_V1_LAYER = 1  # the V0 layer in a V1 one


def read_caffemodel(path: str | Path) -> list[StoredLayer]:
    """Return the layers stored in a caffemodel or an HDF5 snapshot; ReadError if the file is neither.

    A caffemodel's layers are in file order, a snapshot's by name (see formats/read/hdf5.py).
    """
    if is_hdf5(path):
        from deepmerge.formats.read.hdf5 import read_hdf5

        return read_hdf5(path)
    data = map_file(path)
    layers: list[StoredLayer] = []
    form = parts = 0
    try:
        for number, kind, start, stop in wire.fields(data, 0, len(data)):
            if kind == wire.BYTES and number in (_NET_LAYER, _NET_LAYERS_V1):
                form = form or number
                if number != form:
                    text = "mixes `layer` and the legacy `layers`, and Caffe would lose some of them"
                    raise ReadError(text, path, remedy="save it again in one form")
                read = _layer if number == _NET_LAYER else _legacy_layer
                layers.append(read(data, start, stop, path))
                parts += len(layers[-1].blobs) + len(layers[-1].bottoms) + len(layers[-1].tops)
                if len(layers) > MAX_LAYERS or parts > MAX_PARTS:
                    text = f"has over {MAX_LAYERS:,} layers, or {MAX_PARTS:,} blobs, bottoms and tops; no network does"
                    raise ReadError(text, path, remedy="is it damaged?")
            elif kind == wire.VARINT and number == 1:  # a NetParameter has its name there, other messages a number
                text = "is not a caffemodel, but another of Caffe's files (a solverstate or a mean image?)"
                raise ReadError(text, path, remedy="give the .caffemodel")
    except ReadError as error:
        if error.file is not None:
            raise
        raise _damaged(data, layers, error, path) from None
    if not layers:
        raise ReadError("holds no layers; is it a caffemodel (not a solverstate, a mean image, a prototxt)?", path)
    return layers


def _damaged(data: memoryview, layers: list[StoredLayer], error: ReadError, path) -> ReadError:
    if looks_like_text(data):
        return ReadError("is text, not a caffemodel; the prototxt comes first, the caffemodel second", path)
    what = "is not a caffemodel, or a damaged one"
    if layers:
        what = f"is cut short or damaged after layer {layers[-1].name!r}"
    return ReadError(f"{what} ({len(data)} bytes): {error}; get the file again", path)


def _text(data: memoryview, start: int, stop: int) -> str:
    if stop - start > MAX_NAME:
        raise ReadError(f"a name of {stop - start} bytes")
    return decoded(bytes(data[start:stop]))


def _legacy_layer(data: memoryview, start: int, stop: int, path) -> StoredLayer:
    """Return a V1 layer, or the V0 layer in it, with its type in today's form."""
    inner = None
    for number, kind, a, b in wire.fields(data, start, stop):
        if number == _V1_LAYER and kind == wire.BYTES:
            inner = a, b
    if inner is None:
        return _layer(data, start, stop, path, _V1)
    shell, layer = _layer(data, start, stop, path, _V1), _layer(data, *inner, path, _V0)
    if layer.type in v0.TYPES:
        layer.type = v1.type_name(v0.TYPES[layer.type])
    layer.bottoms, layer.tops = shell.bottoms, shell.tops
    return layer


def _layer(data: memoryview, start: int, stop: int, path, numbers: _Numbers = _V2) -> StoredLayer:
    layer = StoredLayer()
    places = []
    for number, kind, a, b in wire.fields(data, start, stop):
        if number == numbers.phase and kind == wire.VARINT:
            layer.phase = _PHASES.get(a, "")
        elif number == numbers.type and kind == wire.VARINT:  # V1's enum
            layer.type = v1.type_name(str(a))
        elif kind != wire.BYTES:
            continue
        elif number == numbers.name:
            layer.name = _text(data, a, b)
        elif number == numbers.type:
            layer.type = _text(data, a, b)
        elif number == numbers.blobs:
            places.append((a, b))
        elif number == numbers.bottom:
            layer.bottoms.append(_text(data, a, b))
        elif number == numbers.top:
            layer.tops.append(_text(data, a, b))
        if len(places) + len(layer.bottoms) + len(layer.tops) > MAX_PARTS:
            raise ReadError(f"over {MAX_PARTS:,} blobs, bottoms and tops in one layer")
    for index, (a, b) in enumerate(places):
        try:
            layer.blobs.append(read_blob(data, a, b))
        except ReadError as error:
            raise ReadError(f"layer {layer.name!r}, blob {index}: {error}; get the file again", path) from None
    return layer


def read_blob(data: memoryview, start: int, stop: int) -> np.ndarray:
    """Return a BlobProto's values in its shape, float32.

    Legacy num … width override `shape`, double_data wins over data, and data over NVCaffe's raw_data.

    Caffe: blob.cpp, FromProto.
    """
    shape: list[int] = []
    legacy: dict[int, int] = {}
    values: dict[int, memoryview | bytearray] = {_BLOB_DATA: memoryview(b""), _BLOB_DOUBLE_DATA: memoryview(b"")}
    raw: memoryview | None = None
    raw_type: int | None = None
    for number, kind, a, b in wire.fields(data, start, stop):
        if number in _LEGACY_DIMS and kind == wire.VARINT:
            legacy[number] = wire.signed(a)
        elif number == _BLOB_SHAPE and kind == wire.BYTES:
            shape += _shape(data, a, b)
            if len(shape) > MAX_AXES:
                raise ReadError(f"has more than {MAX_AXES} axes")
        elif number in values and kind != wire.VARINT:
            values[number] = _joined(values[number], data[a:b])
        elif number == _RAW_TYPE and kind == wire.VARINT:
            raw_type = a
        elif number == _RAW_DATA and kind == wire.BYTES:
            raw = data[a:b]
    if legacy:
        shape = [legacy.get(n, 0) for n in _LEGACY_DIMS]
    dtype, found = ("<f8", values[_BLOB_DOUBLE_DATA]) if len(values[_BLOB_DOUBLE_DATA]) else ("<f4", values[_BLOB_DATA])
    if raw is not None and not len(found):
        dtype, found = _raw_dtype(raw_type), raw
    return _shaped(found, dtype, shape)


def _raw_dtype(raw_type: int | None) -> str:
    if raw_type not in _RAW_DTYPES:
        what = "without a type" if raw_type is None else f"of type {raw_type}"
        text = f"is stored as NVCaffe's raw data {what}, not float16, float32 or float64"
        raise ReadError(text, remedy="save it with store_blobs_in_old_format: true")
    return _RAW_DTYPES[raw_type]


def _joined(before: memoryview | bytearray, more: memoryview) -> memoryview | bytearray:
    """Join chunks: one stays a view on the file; several, or values written one by one, are copied."""
    if not len(before):
        return more
    if isinstance(before, memoryview):
        before = bytearray(before)
    before += more
    return before


def _shaped(found: memoryview | bytearray, dtype: str, shape: list[int]) -> np.ndarray:
    count, rest = divmod(len(found), np.dtype(dtype).itemsize)
    if rest:
        raise ReadError(f"stores {len(found)} bytes, which is not a whole number of values")
    if any(size < 0 for size in shape) or (0 in shape and math.prod(size or 1 for size in shape) > MAX_VALUES):
        raise ReadError(f"claims the impossible shape {tuple(shape)}")
    if math.prod(shape) != count:
        raise ReadError(f"claims {math.prod(shape)} values, its shape being {tuple(shape)}, but stores {count}")
    with np.errstate(over="ignore"):  # Caffe casts doubles to float32 without a word
        return np.frombuffer(found, dtype).astype(np.float32, copy=False).reshape(shape)


def _shape(data: memoryview, start: int, stop: int) -> list[int]:
    """Return the sizes of a BlobShape, which may be packed or not."""
    dims: list[int] = []
    for number, kind, a, b in wire.fields(data, start, stop):
        if number == 1 and kind == wire.VARINT:
            dims.append(wire.signed(a))
        elif number == 1 and kind == wire.BYTES:
            while a < b and len(dims) <= MAX_AXES:
                value, a = wire.varint(data, a, b)
                dims.append(wire.signed(value))
        if len(dims) > MAX_AXES:
            raise ReadError(f"has more than {MAX_AXES} axes")
    return dims
