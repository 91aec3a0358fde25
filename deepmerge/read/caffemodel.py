"""Caffemodel bytes → the layers' weights, as views on the mapped file.

Only the layers' names, types and blobs are read here: the prototxt is the truth about the rest.
Field numbers: proto/caffe.proto, NetParameter, LayerParameter, BlobProto.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from deepmerge.errors import ReadError
from deepmerge.read import wire
from deepmerge.read.files import map_file

_NET_LAYERS_V1, _NET_LAYER = 2, 100
_LAYER_NAME, _LAYER_TYPE, _LAYER_BLOBS = 1, 2, 7
_LEGACY_DIMS = (1, 2, 3, 4)  # num, channels, height, width
_BLOB_DATA, _BLOB_SHAPE, _BLOB_DOUBLE_DATA = 5, 7, 8
_NVCAFFE_RAW = (10, 12)  # NVCaffe's raw_data_type and raw_data (half precision)
MAX_AXES = 32  # Caffe: blob.hpp, kMaxBlobAxes


@dataclass
class StoredLayer:
    """One layer of a caffemodel: its name, its type and its blobs (float32, in the stored shapes)."""

    name: str
    type: str
    blobs: list[np.ndarray] = field(default_factory=list)


def read_caffemodel(path: str | Path) -> list[StoredLayer]:
    """The layers stored in a caffemodel, in file order; ReadError where the file is not one."""
    data = map_file(path)
    layers: list[StoredLayer] = []
    legacy = 0
    try:
        for number, kind, start, stop in wire.fields(data, 0, len(data)):
            if number == _NET_LAYER and kind == wire.BYTES:
                layers.append(_layer(data, start, stop, path))
            legacy += number == _NET_LAYERS_V1 and kind == wire.BYTES
    except ReadError as error:
        if error.file is not None:
            raise
        after = f" behind layer {layers[-1].name!r}" if layers else ""
        wrong = "is cut short or damaged" if layers else "is not a caffemodel, or a damaged one"
        raise ReadError(f"{wrong} ({len(data)} bytes){after}: {error}; get the file again", path) from None
    if legacy:
        raise ReadError("is in the legacy V1 format (`layers`); convert it with Caffe's upgrade_net_proto_binary first", path)
    if not layers:
        raise ReadError("holds no layers; is it a caffemodel (not a solverstate, a mean image, a prototxt)?", path)
    return layers


def _text(data: memoryview, start: int, stop: int) -> str:
    return bytes(data[start:stop]).decode("utf-8", "surrogateescape")


def _layer(data: memoryview, start: int, stop: int, path) -> StoredLayer:
    layer = StoredLayer("", "")
    blobs = []
    for number, kind, a, b in wire.fields(data, start, stop):
        if kind != wire.BYTES:
            continue
        if number == _LAYER_NAME:
            layer.name = _text(data, a, b)
        elif number == _LAYER_TYPE:
            layer.type = _text(data, a, b)
        elif number == _LAYER_BLOBS:
            blobs.append((a, b))
    for index, (a, b) in enumerate(blobs):
        try:
            layer.blobs.append(_blob(data, a, b))
        except ReadError as error:
            raise ReadError(f"layer {layer.name!r}, blob {index}: {error}; get the file again", path) from None
    return layer


def _blob(data: memoryview, start: int, stop: int) -> np.ndarray:
    """A BlobProto. Legacy num … width override `shape`, double_data wins over data (Caffe: blob.cpp, FromProto)."""
    shape: list[int] = []
    legacy: dict[int, int] = {}
    chunks: dict[int, list[np.ndarray]] = {_BLOB_DATA: [], _BLOB_DOUBLE_DATA: []}
    raw = False
    for number, kind, a, b in wire.fields(data, start, stop):
        if number in _LEGACY_DIMS and kind == wire.VARINT:
            legacy[number] = _signed(a)
        elif number == _BLOB_SHAPE and kind == wire.BYTES:
            shape = _shape(data, a, b)
        elif number in chunks:
            dtype = "<f4" if number == _BLOB_DATA else "<f8"
            if (b - a) % np.dtype(dtype).itemsize:
                raise ReadError(f"{b - a} bytes of data are no whole number of values")
            chunks[number].append(np.frombuffer(data[a:b], dtype))
        raw |= number in _NVCAFFE_RAW
    if legacy:
        shape = [legacy.get(n, 0) for n in _LEGACY_DIMS]
    parts = chunks[_BLOB_DOUBLE_DATA] or chunks[_BLOB_DATA]
    if raw and not parts:
        raise ReadError("is stored as NVCaffe's raw (half-precision) data, which is not read here; save it as float32")
    return _shaped(parts, shape)


def _shaped(parts: list[np.ndarray], shape: list[int]) -> np.ndarray:
    values = parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.empty(0, np.float32)
    if len(shape) > MAX_AXES or any(d < 0 for d in shape):
        raise ReadError(f"has the impossible shape {shape[:MAX_AXES]}")
    if math.prod(shape) != values.size:
        raise ReadError(f"claims the shape {tuple(shape)}, {math.prod(shape)} values, but stores {values.size}")
    return values.astype(np.float32, copy=False).reshape(shape)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _shape(data: memoryview, start: int, stop: int) -> list[int]:
    dims: list[int] = []
    for number, kind, a, b in wire.fields(data, start, stop):
        if number != 1:
            continue
        if kind == wire.VARINT:
            dims.append(_signed(a))
        else:
            while a < b:
                value, a = wire.varint(data, a, b)
                dims.append(_signed(value))
        if len(dims) > MAX_AXES:
            raise ReadError(f"has more than {MAX_AXES} axes")
    return dims
